//! `agent-secret.yaml`: the Secret with everything an agent in the cluster needs. Never an administrator's own
//! credential.

use super::texts::{Place, agent_toml};
use super::{AGENT_KEY, AGENT_TOML, AgentFiles, CA, CHARTER, charter_lines};
use anyhow::{Context as _, Result};
use zeroize::Zeroizing;

pub(crate) const NAMESPACE: &str = "lifeboat";
pub(crate) const NAME: &str = "lifeboat-agent";
/// The key that holds the store's credential.
pub(super) const CREDENTIALS: &str = "credentials";

pub(super) fn yaml(agent: &AgentFiles<'_>) -> Result<Zeroizing<String>> {
    let charter = String::from_utf8(charter_lines(agent.charters)).context("a charter is ASCII")?;
    let toml = agent_toml(agent, Place::Cluster)?;
    let mut out = Zeroizing::new(String::new());
    out.push_str(
        "# Everything the agent in the cluster needs. Apply it with kubectl; keep it out of git: it holds a private key.\n",
    );
    if agent.credentials.is_none() && agent.facts.repo.directory().is_none() {
        out.push_str(
            "# The store's credential is missing: run init with --agent-credentials, or add a key `credentials` and\n\
             # credentials_file = \"credentials\" under [s3]. Never the administrator's own credential.\n",
        );
    }
    out.push_str("apiVersion: v1\nkind: Secret\nmetadata:\n");
    out.push_str(&format!("  name: {NAME}\n  namespace: {NAMESPACE}\ntype: Opaque\nstringData:\n"));
    entry(&mut out, AGENT_TOML, &toml)?;
    entry(&mut out, CHARTER, &charter)?;
    entry(&mut out, AGENT_KEY, agent.key)?;
    if let Some(credentials) = agent.credentials {
        entry(&mut out, CREDENTIALS, credentials)?;
    }
    if let Some(ca) = agent.ca {
        entry(&mut out, CA, ca)?;
    }
    Ok(out)
}

/// One key of `stringData`: a block where YAML keeps it as it is, else a quoted string (JSON is YAML).
fn entry(out: &mut String, key: &str, text: &str) -> Result<()> {
    let plain = |c: char| {
        c == '\n' || c == '\t' || (c >= ' ' && c != '\u{7f}' && !('\u{80}'..='\u{9f}').contains(&c))
    };
    let one_end = !text.ends_with("\n\n") && text != "\n" && !text.is_empty() && !text.starts_with('\n');
    if !(one_end && text.chars().all(plain)) {
        let quoted = Zeroizing::new(serde_json::to_string(text)?);
        out.push_str(&format!("  {key}: {}\n", *quoted));
        return Ok(());
    }
    let end = if text.ends_with('\n') { "" } else { "-" };
    out.push_str(&format!("  {key}: |2{end}\n"));
    for line in text.lines() {
        if !line.is_empty() {
            out.push_str("    ");
            out.push_str(line);
        }
        out.push('\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn any_text_comes_back_as_it_was() {
        let texts = [
            "a\nb\n",
            "a",
            "  indented\nb",
            "a\n\nb\n",
            "",
            "\n",
            "a\n\n",
            "tab\there",
            "cr\r\n",
            "# no\n",
            "{\"a\": \"ü\"}",
        ];
        for text in texts {
            let mut out = "stringData:\n".to_owned();
            entry(&mut out, "key", text).unwrap();
            entry(&mut out, "next", "x").unwrap();
            let back: BTreeMap<String, BTreeMap<String, String>> = serde_saphyr::from_str(&out).unwrap();
            assert_eq!(back["stringData"]["key"], text, "{out}");
        }
    }
}
