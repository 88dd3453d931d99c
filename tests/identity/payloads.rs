//! What real libraries store.

use sessgate::clock::Timestamp;
use sessgate::session::identity::{Format, Raw, Rule};

use super::{NoUser, payloads, user_of};

#[test]
fn in_every_payload_is_found_what_is_there() {
    for payload in payloads() {
        for format in [Format::Auto, payload.format] {
            let rule = Rule::new(format, None, None, None);
            let identity = rule.extract(Raw::Value(&payload.bytes));
            let found = (
                identity.user.as_ref().map(|user| user.as_str().to_owned()),
                identity.ip.map(|ip| ip.to_string()),
                identity.created_at.map(Timestamp::as_millis),
            );
            let expected = (payload.user.clone(), payload.ip.clone(), payload.created_at);
            assert_eq!((found, identity.known), (expected, true), "{} as {format}", payload.file);
        }
    }
}

#[test]
fn a_payload_in_another_format_is_unknown() {
    let others = |of: Format| {
        [Format::Json, Format::MessagePack, Format::Django, Format::Php, Format::Ruby, Format::Hash]
            .into_iter()
            .filter(move |format| *format != of)
    };
    for payload in payloads() {
        for format in others(payload.format) {
            // Django's JSON is JSON, and JSON is what Django may write.
            if payload.bytes.starts_with(b"{") && matches!(format, Format::Json | Format::Django) {
                continue;
            }
            let found = user_of(&Rule::new(format, None, None, None), &payload.bytes);
            assert_eq!(found, Err(NoUser::Unknown), "{} as {format}", payload.file);
        }
    }
}

/// Of one byte, a pickle is an empty map of `MessagePack`. PHP's own format, of variables one after another, is whole after each of them; the others only at the end.
#[test]
fn a_payload_cut_short_says_nothing() {
    for payload in payloads() {
        for format in [Format::Auto, payload.format] {
            let rule = Rule::new(format, None, None, None);
            for length in 2..payload.bytes.len() {
                let found = user_of(&rule, &payload.bytes[..length]);
                let whole = payload.file.starts_with("php-") || payload.file.starts_with("symfony-");
                // The signature may be shorter: it is not looked at.
                let signed = payload.file.starts_with("django-signed") && length > payload.bytes.len() - 40;
                if !whole && !signed {
                    assert_eq!(found, Err(NoUser::Unknown), "{} as {format}, {length} bytes", payload.file);
                } else if let Ok(user) = found {
                    assert_eq!(Some(user), payload.user, "{} as {format}, {length} bytes", payload.file);
                }
            }
        }
    }
}

#[test]
fn a_payload_with_something_behind_it_says_nothing() {
    for payload in payloads() {
        let mut bytes = payload.bytes.clone();
        bytes.extend_from_slice(b"\x01|");
        // What follows a compressed stream or a signature is not looked at.
        if payload.file.contains("zlib") || payload.file.contains("signed") {
            continue;
        }
        assert_eq!(user_of(&Rule::default(), &bytes), Err(NoUser::Unknown), "{}", payload.file);
    }
}
