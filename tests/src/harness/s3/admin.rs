//! What tests ask of an S3 server as its administrator, through the AWS client. Starts and stops nothing.

use super::{REGION, ROOT, S3Server};
use anyhow::{Context, Result, anyhow};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use std::future::Future;

impl S3Server {
    /// A client for a user; to be used on one runtime only.
    pub fn client(&self, user: &str) -> Result<Client> {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .credentials_provider(Credentials::new(user, self.secret(user)?, None, None, "harness"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Client::from_conf(config))
    }

    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.ask("make the bucket", |client| async move {
            Ok(client.create_bucket().bucket(bucket).send().await?)
        })
        .map(drop)
    }

    /// A bucket whose objects can be locked; it keeps versions, too.
    pub fn create_locked_bucket(&self, bucket: &str) -> Result<()> {
        let make = |client: Client| async move {
            Ok(client.create_bucket().bucket(bucket).object_lock_enabled_for_bucket(true).send().await?)
        };
        self.ask("make the bucket", make).map(drop)
    }

    /// From now on an overwrite makes a second version.
    pub fn enable_versioning(&self, bucket: &str) -> Result<()> {
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let ask = |client: Client| async move {
            Ok(client.put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await?)
        };
        self.ask("turn versions on", ask).map(drop)
    }

    /// Sets the bucket's policy (JSON); users have the rights that it gives them and no others.
    pub fn put_bucket_policy(&self, bucket: &str, policy: &str) -> Result<()> {
        let ask = |client: Client| async move {
            Ok(client.put_bucket_policy().bucket(bucket).policy(policy).send().await?)
        };
        self.ask("set the policy", ask).map(drop)
    }

    pub fn list_buckets(&self) -> Result<Vec<String>> {
        let listed =
            self.ask("list the buckets", |client| async move { Ok(client.list_buckets().send().await?) })?;
        Ok(listed.buckets().iter().filter_map(|bucket| bucket.name().map(str::to_owned)).collect())
    }

    pub fn put_object(&self, bucket: &str, key: &str, body: &[u8]) -> Result<()> {
        let body = body.to_vec();
        let ask = |client: Client| async move {
            Ok(client.put_object().bucket(bucket).key(key).body(body.into()).send().await?)
        };
        self.ask("put the object", ask).map(drop)
    }

    pub fn get_object(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        let ask = |client: Client| async move {
            Ok(client.get_object().bucket(bucket).key(key).send().await?.body.collect().await?.to_vec())
        };
        self.ask("get the object", ask)
    }

    /// Every key below a prefix.
    pub fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let ask = |client: Client| async move {
            let mut pages = client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.try_next().await? {
                keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            }
            Ok(keys)
        };
        self.ask("list the objects", ask)
    }

    pub fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        self.ask("delete the object", |client| async move {
            Ok(client.delete_object().bucket(bucket).key(key).send().await?)
        })
        .map(drop)
    }

    /// Asks as the administrator, on a thread and a runtime of its own, so that async tests may call it, too.
    fn ask<T: Send, F: Future<Output = Result<T>>>(
        &self,
        what: &str,
        question: impl FnOnce(Client) -> F + Send,
    ) -> Result<T> {
        let client = self.client(ROOT)?;
        let answer = std::thread::scope(|scope| {
            let asker = scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("cannot start a runtime")?;
                runtime.block_on(question(client))
            });
            asker.join().map_err(|_| anyhow!("the client panicked"))?
        });
        answer.with_context(|| format!("cannot {what} at {}", self.endpoint()))
    }
}
