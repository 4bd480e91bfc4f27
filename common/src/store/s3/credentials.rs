//! A credential from a file in the AWS format. Its errors never repeat what the file says.

use super::super::{Result, StoreError, StoreErrorKind};
use aws_sdk_s3::config::Credentials;
use std::path::Path;
use zeroize::Zeroizing;

/// The credential of profile `default`, or of the only profile.
pub(super) async fn read(file: &Path) -> Result<Credentials> {
    let target = file.display().to_string();
    let fail = |detail: String| {
        StoreError::new(StoreErrorKind::Invalid, "read the credentials file", target.clone(), detail)
    };
    let unread = |error: std::io::Error| {
        fail(format!("{}; check credentials_file, and who may read that file", error.kind()))
    };
    let text = tokio::fs::read_to_string(file).await.map_err(unread)?;
    let text = Zeroizing::new(text);
    parse(&text).ok_or_else(|| {
        fail("it needs a line [default], then aws_access_key_id = … and aws_secret_access_key = …".to_owned())
    })
}

fn parse(text: &str) -> Option<Credentials> {
    let mut in_default = true; // a file without any profile line is taken as the default profile
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(profile) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_default = matches!(profile.trim(), "default" | "profile default");
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        if !in_default || value.is_empty() {
            continue;
        }
        match name.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => id = Some(value),
            "aws_secret_access_key" => secret = Some(value),
            "aws_session_token" => token = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(Credentials::new(id?, secret?, token, None, "credentials_file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_taken() {
        let text = "# note\n[other]\naws_access_key_id = no\n[default]\naws_access_key_id=AKIA\n\
                    aws_secret_access_key = se=cret+/\naws_session_token = tok\n[last]\naws_access_key_id = no\n";
        let found = parse(text).unwrap();
        assert_eq!(found.access_key_id(), "AKIA");
        assert_eq!(found.secret_access_key(), "se=cret+/");
        assert_eq!(found.session_token(), Some("tok"));
        assert!(parse("[default]\naws_access_key_id = AKIA\n").is_none());
        assert!(parse("[other]\naws_access_key_id = a\naws_secret_access_key = b\n").is_none());
    }

    #[tokio::test]
    async fn errors_name_the_file_and_no_secret() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("cred");
        let missing = read(&file).await.unwrap_err();
        assert!(missing.to_string().contains("cred"), "{missing}");
        std::fs::write(&file, "[default]\naws_secret_access_key = sesame\n").unwrap();
        let bad = read(&file).await.unwrap_err();
        assert_eq!(bad.kind, StoreErrorKind::Invalid);
        assert!(!format!("{bad} {bad:?}").contains("sesame"), "{bad}");
    }
}
