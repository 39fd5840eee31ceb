// SPDX-License-Identifier: Apache-2.0
//! Authentication challenges (RFC 9110 section 11) and tokens of registries (OCI distribution
//! specification, Docker token authentication).

use serde::Deserialize;
use zeroize::Zeroizing;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from a token service.
    Bearer { realm: String, service: Option<String> },
    /// Name and password.
    Basic,
}

impl Challenge {
    /// The first challenge of a `WWW-Authenticate` header that can be met.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        if header.len() > MAX_HEADER {
            return None;
        }
        let mut rest = header;
        while !rest.is_empty() {
            let Split { scheme, parameters, rest: next } = split_challenge(rest)?;
            let get = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                return Some(Self::Bearer { realm: get("realm")?, service: get("service") });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            rest = next;
        }
        None
    }
}

/// Reads the token out of a token service's response.
pub(crate) fn parse_token(body: &[u8]) -> Option<Zeroizing<String>> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        // Borrowed, so that no copy is left behind; a token needs no escapes.
        token: Option<&'a str>,
        access_token: Option<&'a str>,
    }
    let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
    let token = wire.token.filter(|t| !t.is_empty()).or(wire.access_token)?;
    // RFC 6750: b64token.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let is_valid = !token.is_empty() && token.bytes().all(is_token);
    is_valid.then(|| Zeroizing::new(token.to_owned()))
}

/// A scheme with its parameters, and the challenges after it.
struct Split<'a> {
    scheme: &'a str,
    parameters: Vec<(String, String)>,
    rest: &'a str,
}

/// Splits a scheme with its parameters from the challenges after it.
fn split_challenge(text: &str) -> Option<Split<'_>> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
    let (scheme, mut rest) = text.split_at(end);
    let mut parameters = Vec::new();
    loop {
        let next = rest.trim_start_matches([' ', '\t', ',']);
        let Some((key, value)) = next.split_once('=') else { break };
        let key = key.trim_end();
        // A space inside the "key" means that another scheme begins here.
        if key.is_empty() || key.contains([' ', '\t', ',', '"']) {
            return Some(Split { scheme, parameters, rest: next });
        }
        let (value, after) = split_value(value.trim_start())?;
        parameters.push((key.to_owned(), value));
        if parameters.len() > MAX_PARAMETERS {
            return None;
        }
        rest = after;
    }
    Some(Split { scheme, parameters, rest: rest.trim_start_matches([' ', '\t', ',']) })
}

/// Splits a token or a quoted string from what follows.
fn split_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at.checked_add(1)?..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Longest header in bytes.
const MAX_HEADER: usize = 8 << 10;
/// Most parameters of a challenge.
const MAX_PARAMETERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn challenges_are_read() {
        let parse = Challenge::parse;
        assert_eq!(
            parse(r#"Bearer realm="https://a.example/token",service="a",scope="x:y:pull,push""#),
            bearer("https://a.example/token", Some("a"))
        );
        assert_eq!(parse("bearer  REALM = x , error=\"no\""), bearer("x", None));
        assert_eq!(parse(r#"Bearer realm="a\"b,c=d""#), bearer("a\"b,c=d", None));
        assert_eq!(parse(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(parse("Basic"), Some(Challenge::Basic));
        assert_eq!(parse(r#"Negotiate, Bearer realm="x""#), bearer("x", None));
        assert_eq!(parse(r#"Digest a=b, c="d", Bearer realm="x""#), bearer("x", None));
    }

    #[test]
    fn other_challenges_are_not_met() {
        for text in ["", ",", "Bearer", "Bearer service=x", "Negotiate", r#"Bearer realm="x"#] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
        let many = format!("Bearer {}realm=x", "a=b,".repeat(MAX_PARAMETERS + 1));
        assert_eq!(Challenge::parse(&many), None);
        assert_eq!(Challenge::parse(&" ".repeat(MAX_HEADER + 1)), None);
    }

    #[test]
    fn tokens_are_header_safe() {
        let parse = |text: &str| parse_token(text.as_bytes()).map(|t| t.to_string());
        assert_eq!(parse(r#"{"token":"a.b-c"}"#).as_deref(), Some("a.b-c"));
        assert_eq!(
            parse(r#"{"token":"","access_token":"x","expires_in":60}"#).as_deref(),
            Some("x")
        );
        for text in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nb"}"#, r#"{"token":5}"#] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") {
            let _ = Challenge::parse(&text);
            let _ = parse_token(text.as_bytes());
        }
    }
}
