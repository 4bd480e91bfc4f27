//! Judging a failed call: what kind of failure it is, and whether a write may have gone through.
//!
//! Nothing that a network or a busy server does is taken for damage. Decides; does no I/O.

use super::super::StoreErrorKind as Kind;
use super::answer::{Answer, NO_CREDENTIAL};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;
use std::time::Duration;

/// Messages of servers are cut here.
const LONGEST_DETAIL: usize = 300;

pub(super) fn judge<E>(error: &SdkError<E, HttpResponse>) -> Answer
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let answer = |kind, detail, unclear| Answer {
        kind,
        detail,
        unclear,
        retry_after: None,
        status: None,
        unreached: false,
    };
    match error {
        SdkError::ServiceError(service) => {
            let raw = service.raw();
            let meta = service.err().meta();
            served(raw.status().as_u16(), meta.code(), meta.message(), raw.headers().get("retry-after"))
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let detail = format!("the answer ({status}) could not be read: {}", chain(error));
            // A server error without a body that we know, an answer cut short, or no S3 at all.
            let kind = if status >= 500 || broken_off(error) { Kind::Unavailable } else { Kind::Protocol };
            Answer { status: Some(status), ..answer(kind, detail, true) }
        }
        SdkError::TimeoutError(_) => Answer::silence("there was no answer in time"),
        _ if credential_trouble(error).is_some() => match credential_trouble(error) {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => {
                let detail = format!("no credential could be had just now: {}", chain(error));
                answer(Kind::Unavailable, detail, false)
            }
            _ => answer(Kind::Denied, NO_CREDENTIAL.to_owned(), false),
        },
        SdkError::DispatchFailure(_) => {
            Answer { unreached: true, ..answer(Kind::Unavailable, chain(error), true) }
        }
        _ => answer(Kind::Invalid, format!("the request could not be made: {}", chain(error)), false),
    }
}

/// Judges an answer that the server gave on purpose.
fn served(status: u16, code: Option<&str>, message: Option<&str>, retry_after: Option<&str>) -> Answer {
    let code = code.unwrap_or_default();
    let kind = kind(status, code);
    let detail = match (code, message) {
        ("", None) => format!("the server answered {status}"),
        ("", Some(message)) => format!("the server answered {status}: {message}"),
        (code, None) => format!("the server answered {status} {code}"),
        (code, Some(message)) => format!("the server answered {status} {code}: {message}"),
    };
    Answer {
        kind,
        detail: clean(&detail),
        retry_after: retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
        // A refusal is clear; what broke inside the server is not.
        unclear: status >= 500 && kind == Kind::Unavailable,
        status: Some(status),
        unreached: false,
    }
}

fn kind(status: u16, code: &str) -> Kind {
    match code {
        "NoSuchKey" | "NoSuchBucket" | "NotFound" | "NoSuchVersion" => Kind::NotFound,
        "PreconditionFailed" => Kind::Exists,
        "ConditionalRequestConflict" | "OperationAborted" => Kind::Unavailable,
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "ContentSHA256Mismatch" => Kind::Checksum,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => Kind::Throttled,
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestTimeTooSkewed"
        | "AccountProblem"
        | "AllAccessDisabled" => Kind::Denied,
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" => {
            Kind::Full
        }
        "EntityTooLarge" | "InvalidRequestBody" => Kind::TooLarge,
        "KeyTooLongError"
        | "InvalidObjectName"
        | "InvalidBucketName"
        | "PermanentRedirect"
        | "AuthorizationHeaderMalformed" => Kind::Invalid,
        "RequestTimeout" | "IncompleteBody" => Kind::Unavailable,
        _ => match status {
            404 => Kind::NotFound,
            412 => Kind::Exists,
            401 | 403 => Kind::Denied,
            413 => Kind::TooLarge,
            408 | 425 => Kind::Unavailable,
            429 => Kind::Throttled,
            501 => Kind::Protocol,
            507 => Kind::Full,
            500.. => Kind::Unavailable,
            _ => Kind::Protocol,
        },
    }
}

/// The messages of an error and of what it came from, the general ones left out.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() {
        parts.push(error.to_string());
    }
    clean(&parts.join(": "))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn credential_trouble<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Whether the connection failed while the answer came in.
fn broken_off(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<hyper::Error>() || cause.is::<std::io::Error>())
}

/// Bounded and without control characters: a server chose this text.
fn clean(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match printable.char_indices().nth(LONGEST_DETAIL) {
        Some((end, _)) => format!("{}…", &printable[..end]),
        None => printable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_to_kinds() {
        for (status, code, expected, unclear) in [
            (412, "PreconditionFailed", Kind::Exists, false),
            (412, "", Kind::Exists, false),
            (409, "ConditionalRequestConflict", Kind::Unavailable, false),
            (403, "AccessDenied", Kind::Denied, false),
            (400, "ExpiredToken", Kind::Denied, false),
            (404, "NoSuchBucket", Kind::NotFound, false),
            (400, "BadDigest", Kind::Checksum, false),
            (503, "SlowDown", Kind::Throttled, false),
            (503, "ServiceUnavailable", Kind::Unavailable, true),
            (500, "InternalError", Kind::Unavailable, true),
            (429, "", Kind::Throttled, false),
            (507, "", Kind::Full, false),
            (400, "RequestTimeout", Kind::Unavailable, false),
            (301, "PermanentRedirect", Kind::Invalid, false),
            (418, "Teapot", Kind::Protocol, false),
        ] {
            let answer = served(status, Some(code), None, Some("7"));
            assert_eq!((answer.kind, answer.unclear), (expected, unclear), "{status} {code}");
            assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_servers_text_is_bounded_and_clean() {
        let answer = served(500, Some("X"), Some(&"evil\u{1b}[2J".repeat(1000)), None);
        assert!(answer.detail.chars().count() <= LONGEST_DETAIL + 1);
        assert!(!answer.detail.contains('\u{1b}'));
    }
}
