//! `NEXT-STEPS.md`: which file goes to whom, what must never be in the cluster, and the commands to go on with.

use super::secret::{NAME, NAMESPACE};
use lifeboat_common::config::RepositoryConfig;
use lifeboat_format::crypto::seal::Recipient;
use std::path::Path;

/// What the page depends on.
pub(crate) struct NextSteps<'a> {
    pub(crate) facts: &'a RepositoryConfig,
    /// The folder's name in the commands.
    pub(crate) dir: &'a Path,
    pub(crate) own_identity: bool,
    pub(crate) protected: bool,
    pub(crate) recipients: &'a [Recipient],
    pub(crate) credentials: bool,
}

pub(crate) fn next_steps(page: &NextSteps<'_>) -> String {
    [head(page), files(page), offline(page), cluster(page), replicator(page), later(page)].concat()
}

fn head(page: &NextSteps<'_>) -> String {
    let f = page.facts;
    format!(
        "# Lifeboat for cluster {}: next steps\n\n\
         Repository: {}\n\nOwner's fingerprint: **{}** — write it down where you will find it in a disaster; every restore is\n\
         checked against it.\n\n",
        f.cluster,
        f.repo,
        f.owner.fingerprint()
    )
}

fn files(page: &NextSteps<'_>) -> String {
    let identity = if page.own_identity {
        "| `identity.txt` | opens every snapshot | administrators, offline, two copies |\n"
    } else {
        "| the identities of the recipients in `recipients.txt` | open every snapshot | administrators, offline |\n"
    };
    format!(
        "## Which file goes where\n\n\
         | file | what it can do | where it belongs |\n|---|---|---|\n{identity}\
         | `owner.key` | signs the policy, replaces a stolen agent | administrators, offline, two copies |\n\
         | `repository.toml`, `recipients.txt` | nothing: public facts | with the administrators, and in your runbook |\n\
         | `receipt.key`, `replicator.toml` | sign receipts of what arrived | the replicator's host, nowhere else |\n\
         | `agent-secret.yaml` | writes backups, reads none | the cluster, by `lifeboat install`; then delete it here or lock it away |\n\
         | `agent.key`, `agent.toml`, `charter.json`, `agent.credentials` | the same, for an agent on a host | that host |\n\n\
         **Never in the cluster:** `identity.txt`, `owner.key`, `receipt.key`, any credential that can delete, and the\n\
         credential you ran `lifeboat init` with. Whoever owns the cluster then can read no backup and destroy none.\n\n"
    )
}

fn offline(page: &NextSteps<'_>) -> String {
    let dir = page.dir.display();
    let mut text = "## 1. Put the keys away\n\n".to_owned();
    if !page.protected {
        text.push_str(
            "They have **no passphrase** (`--unprotected`): whoever reads this folder can read every backup. Fine for a trial;\n\
             otherwise encrypt them now, for example with `age -p -o owner.key.age owner.key`.\n\n",
        );
    }
    text.push_str(
        "Copy `owner.key` and the identity to two offline places (a safe, a password manager, a second site). If all\n\
         identities are lost, no backup can ever be opened again, by anyone.\n\n",
    );
    if let [only] = page.recipients {
        text.push_str(&format!(
            "Only one identity can open the backups. Add a second administrator:\n\n\
             ```\nlifeboat keygen --out other-identity.txt     # on the other administrator's machine\n\
             lifeboat rotate --config {dir} --recipient {only} --recipient OTHER-AGE1…\n```\n\n"
        ));
    }
    text
}

fn cluster(page: &NextSteps<'_>) -> String {
    let dir = page.dir.display();
    let mut text = "## 2. The agent\n\n".to_owned();
    if page.facts.repo.directory().is_none() {
        if !page.credentials {
            text.push_str(
                "Make a credential for the agent that may Put under `packs/ lists/ manifests/ agent/` and Get and List under\n\
                 this cluster's folder, and nothing else. Add it to `agent-secret.yaml` (its first lines say how).\n\n",
            );
        }
        text.push_str(&format!(
            "See what the store really enforces:\n\n```\nlifeboat probe --repo {} --config {dir} --agent-credentials FILE\n```\n\n",
            page.facts.repo
        ));
    }
    if page.facts.repo.directory().is_none() {
        text.push_str(&format!(
            "Put it into the cluster, as a cluster administrator. It makes a backup every night (`--schedule` for another\n\
             time). `make image` builds the image; push it to your registry:\n\n\
             ```\nlifeboat install --config {dir} --kubeconfig KUBECONFIG --image REGISTRY/lifeboat-agent:VERSION\n\
             lifeboat backup now --from-schedule daily --kubeconfig KUBECONFIG --wait\n```\n\n\
             `agent-secret.yaml` is what the agent gets: the Secret `{NAME}` in its namespace `{NAMESPACE}`.\n\n"
        ));
    }
    text.push_str(&format!(
        "{}rom any host with a kubeconfig that may `list` everything, once or by a timer:\n\n\
         ```\nlifeboat-agent backup --config {dir}/agent.toml --kubeconfig KUBECONFIG\n```\n\n",
        if page.facts.repo.directory().is_none() { "Or f" } else { "F" }
    ));
    text
}

fn replicator(page: &NextSteps<'_>) -> String {
    let dir = page.dir.display();
    let vault = page.facts.vault.as_ref().map(ToString::to_string).unwrap_or_default();
    let make = page.facts.vault.as_ref().and_then(|v| v.directory());
    let make = make
        .map(|d| format!("mkdir -p {}     # on the replicator's host; mount its disk first\n", d.display()));
    let s3 = page.facts.repo.directory().is_none();
    let ca = if page.facts.s3.ca_file.is_some() { ", `ca.pem`" } else { "" };
    let credential = if s3 { " --credentials READER" } else { "" };
    let reader = if s3 {
        "\nREADER is a file in the format of `~/.aws/credentials`, mode 0600, of a credential that may Get and List and nothing\n\
         else. More is off until it is given: `lifeboat-replicator setup --help`.\n"
    } else {
        ""
    };
    format!(
        "## 3. The replicator, on a host outside of the cluster\n\n\
         It pulls into {vault}. Copy `replicator.toml`, `receipt.key`{ca} into a folder there (here DIR), install the package\n\
         (`make deb`), mount the vault's disk, and as root:\n\n\
         ```\nlifeboat-replicator setup --from DIR{credential} --dry-run     # what it will do\n\
         lifeboat-replicator setup --from DIR{credential}\n```\n{reader}\n\
         Or by hand, for a trial:\n\n\
         ```\n{}lifeboat-replicator check-config --config {dir}/replicator.toml\n\
         lifeboat-replicator pull --config {dir}/replicator.toml --once\n```\n\n",
        make.unwrap_or_default()
    )
}

fn later(page: &NextSteps<'_>) -> String {
    let dir = page.dir.display();
    let vault = page.facts.vault.as_ref().map(ToString::to_string).unwrap_or_default();
    let identity = if page.own_identity { format!("{dir}/identity.txt") } else { "IDENTITY".to_owned() };
    let owner = if page.own_identity { String::new() } else { format!(" --owner {dir}/repository.toml") };
    format!(
        "## 4. Prove it\n\n```\nlifeboat snapshots --repo {vault}{owner} --identity {identity}\n\
         lifeboat verify    --repo {vault}{owner} --identity {identity}\n\
         lifeboat restore latest --repo {vault}{owner} --identity {identity} --kubeconfig OTHER-CLUSTER --dry-run\n```\n\n\
         ## Later\n\n\
         - Every 90 days: `lifeboat rotate --config {dir}`, then `lifeboat install --config {dir}` again.\n\
         - An administrator leaves: `lifeboat rotate --config {dir} --fresh --recipient …` (read its `--help` first).\n\
         - The cluster was rebuilt, or was broken into: `lifeboat adopt --config {dir}`, then `lifeboat install` again.\n"
    )
}
