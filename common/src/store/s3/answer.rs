//! What is noted of each answer before the SDK reads it, and what a failed one comes to.

use super::super::StoreErrorKind;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::{DateTime, Format};
use http_body_util::Limited;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest answer that is read into memory whole: a page of 1000 keys, each character escaped.
const LONGEST_ANSWER: usize = 16 << 20;

/// What is said when nothing gave a credential.
pub(super) const NO_CREDENTIAL: &str = "no credential was found";

/// A failed call, judged.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: StoreErrorKind,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
    /// A write may have gone through all the same.
    pub(super) unclear: bool,
    pub(super) status: Option<u16>,
    /// The server was not even reached.
    pub(super) unreached: bool,
}

impl Answer {
    /// Nothing came in time; what was asked for may have been done.
    pub(super) fn silence(detail: &str) -> Self {
        let (kind, detail) = (StoreErrorKind::Unavailable, detail.to_owned());
        Self { kind, detail, retry_after: None, unclear: true, status: None, unreached: false }
    }

    /// What to do about it.
    pub(super) fn next(&self, operation: &str, endpoint: &str, credential: &str) -> String {
        let right = match operation {
            "get" | "head" => {
                "s3:GetObject (and s3:ListBucket, without which an absent object looks forbidden)"
            }
            "list" => "s3:ListBucket",
            "create" | "overwrite" => "s3:PutObject",
            "delete" => "s3:DeleteObject",
            _ => "the right to do this",
        };
        match self.kind {
            StoreErrorKind::Denied if self.detail == NO_CREDENTIAL => {
                "; set credentials_file in the [s3] table, or give one as the AWS tools take it".to_owned()
            }
            StoreErrorKind::Denied if self.detail.contains("RequestTimeTooSkewed") => {
                format!("; set the clock of this machine, or that of {endpoint}")
            }
            StoreErrorKind::Denied => format!("; check that {credential} is valid and has {right} there"),
            StoreErrorKind::Unavailable if self.unreached => {
                format!("; check the endpoint ({endpoint}), its certificate, and the way to it")
            }
            StoreErrorKind::Unavailable => format!("; check the server at {endpoint} if this goes on"),
            StoreErrorKind::Throttled => {
                "; the server asks for fewer requests, so run this again later".to_owned()
            }
            StoreErrorKind::NotFound if self.detail.contains("NoSuchBucket") => {
                format!("; create the bucket, or check its name and the endpoint ({endpoint})")
            }
            StoreErrorKind::NotFound if operation == "list" => {
                format!("; check that {endpoint} is an S3 server and has this bucket")
            }
            StoreErrorKind::Full => "; free some space or raise the quota".to_owned(),
            StoreErrorKind::Protocol => format!("; check that {endpoint} is an S3 server"),
            _ => String::new(),
        }
    }
}

/// Goes along with one request: signs a known checksum, notes the server's clock, bounds the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// Lower-case hex of the body, so that the SDK need not hash it again.
    sha256: Option<String>,
    /// The body of a good answer is read piece by piece, so it needs no bound.
    streams: bool,
    date: Arc<Mutex<Option<Timestamp>>>,
}

impl Watch {
    pub(super) fn streaming() -> Self {
        Self { streams: true, ..Self::default() }
    }

    pub(super) fn signing(sha256: &[u8; 32]) -> Self {
        Self { sha256: Some(hex::encode(sha256)), ..Self::default() }
    }

    /// The `Date` of the answer.
    pub(super) fn date(&self) -> Option<Timestamp> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "LifeboatWatch"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(sha256) = &self.sha256 {
            config
                .interceptor_state()
                .store_put(aws_runtime::auth::PayloadSigningOverride::Precomputed(sha256.clone()));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let date = response.headers().get("date").and_then(timestamp);
        *self.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
        if !(self.streams && response.status().is_success()) {
            let body = response.take_body();
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, LONGEST_ANSWER));
        }
        Ok(())
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    DateTime::from_str(text, Format::HttpDate).ok().and_then(|date| when(&date))
}

/// The SDK's time as ours.
pub(super) fn when(date: &DateTime) -> Option<Timestamp> {
    Timestamp::new(date.secs(), i32::try_from(date.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        let expected: Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
        assert_eq!(timestamp("Wed, 21 Oct 2015 07:28:00 GMT"), Some(expected));
        assert_eq!(timestamp("yesterday"), None);
    }

    #[test]
    fn a_wrong_clock_is_no_wrong_credential() {
        let refused = |detail: &str| Answer {
            kind: StoreErrorKind::Denied,
            detail: detail.to_owned(),
            retry_after: None,
            unclear: false,
            status: Some(403),
            unreached: false,
        };
        let next = |detail| refused(detail).next("list", "https://s3", "the credential in f");
        assert!(next("the server answered 403 RequestTimeTooSkewed").contains("clock"));
        assert!(next("the server answered 403 AccessDenied").contains("the credential in f"));
    }
}
