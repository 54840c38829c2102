//! Signatures against known ones, and how secrets are read.

use super::*;

const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SHARED_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PRIVATE_KEY: &str = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=";

#[test]
fn signatures_are_those_of_the_specifications_libraries() {
    for (secret, expected) in [
        (SHARED_SECRET, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        (
            PRIVATE_KEY,
            "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==",
        ),
    ] {
        assert_eq!(Secret::parse(secret).unwrap().sign(ID, AT, BODY), expected);
    }
}

#[test]
fn shared_secrets_of_every_length_sign_as_the_specifications_library_does() {
    for length in 24..=64_u8 {
        let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
        let text = format!("{SHARED}{}", STANDARD.encode(bytes));
        let theirs = standardwebhooks::Webhook::new(&text).unwrap();
        for body in [&b""[..], BODY, "ü.\n".as_bytes()] {
            let ours = Secret::parse(&text).unwrap().sign(ID, AT, body);
            assert_eq!(ours, theirs.sign(ID, AT, body).unwrap(), "{length}");
        }
    }
}

#[test]
fn made_secrets_are_read_back_as_they_were_made() {
    for kind in [SecretKind::Shared, SecretKind::Pair] {
        let made = Secret::from_random(kind, std::array::from_fn(|n| n as u8 * 7));
        let read = Secret::parse(made.reveal()).unwrap();
        assert_eq!((made.kind(), read.kind()), (kind, kind));
        assert_eq!(read.sign(ID, AT, BODY), made.sign(ID, AT, BODY));
        assert_eq!(SecretKind::named(kind.as_str()), Some(kind));
    }
}

#[test]
fn what_is_no_secret_is_refused_without_a_word_of_it() {
    let seed = [7; 32];
    let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let whsk = |bytes: &[u8]| format!("{PRIVATE}{}", STANDARD.encode(bytes));
    let whsec = |bytes: usize| format!("{SHARED}{}", STANDARD.encode(vec![1; bytes]));
    for (text, expected) in [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), Some(BadSecret::Prefix)),
        (String::new(), Some(BadSecret::Prefix)),
        ("whsec_***".to_owned(), Some(BadSecret::Base64(SHARED))),
        ("whsk_?".to_owned(), Some(BadSecret::Base64(PRIVATE))),
        (whsec(23), Some(BadSecret::SharedLength(23))),
        (whsec(24), None),
        (whsec(64), None),
        (whsec(65), Some(BadSecret::SharedLength(65))),
        (whsk(&seed), None),
        (whsk(&[seed, public].concat()), None),
        (whsk(&[seed, seed].concat()), Some(BadSecret::WrongPublicKey)),
        (whsk(&seed[1..]), Some(BadSecret::PairLength)),
    ] {
        let read = Secret::parse(&text);
        if let Err(error) = &read {
            assert!(text.is_empty() || !error.to_string().contains(&text), "{error}");
        }
        assert_eq!(read.err(), expected, "{text}");
    }
}

#[test]
fn a_public_key_checks_what_the_private_one_signs() {
    let secret = Secret::parse(PRIVATE_KEY).unwrap();
    let public = secret.public_key().unwrap();
    let key: [u8; 32] = STANDARD.decode(public.strip_prefix(PUBLIC).unwrap()).unwrap().try_into().unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
    let signature = secret.sign(ID, AT, BODY);
    let signature = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
    let signed = [format!("{ID}.{AT}.").as_bytes(), BODY].concat();
    let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    assert!(key.verify_strict(&signed, &signature).is_ok());
}

fn signing(secrets: &[(&str, Option<i64>)]) -> HookSigning {
    let valid = |(text, until): &(&str, Option<i64>)| ValidSecret {
        secret: Secret::parse(text).unwrap(),
        until: *until,
    };
    HookSigning { secrets: secrets.iter().map(valid).collect(), ..HookSigning::default() }
}

#[test]
fn every_secret_that_still_counts_signs_and_the_current_one_first() {
    let both = signing(&[(PRIVATE_KEY, None), (SHARED_SECRET, Some(AT + 1))]);
    let headers = both.headers(ID, AT, BODY).unwrap();
    let (name, value) = &headers[0];
    assert_eq!((headers.len(), name.as_str()), (1, "webhook-signature"));
    let kinds: Vec<&str> = value.split(' ').map(|one| one.split_once(',').unwrap().0).collect();
    assert_eq!(kinds, ["v1a", "v1"]);

    let later = both.headers(ID, AT + 1, BODY).unwrap();
    assert!(later[0].1.starts_with("v1a,") && !later[0].1.contains(' '), "{later:?}");
    assert_eq!(HookSigning::default().headers(ID, AT, BODY), Ok(Vec::new()));
}

#[test]
fn the_older_signature_is_over_the_body_alone() {
    let mut older = signing(&[(SHARED_SECRET, None)]);
    older.legacy_header = Some(LEGACY_HEADER.to_owned());
    let headers = older.headers(ID, AT, BODY).unwrap();
    let key = STANDARD.decode(&SHARED_SECRET[SHARED.len()..]).unwrap();
    let expected = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(BODY).finalize();
    let expected: String = expected.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers[1], (LEGACY_HEADER.to_owned(), format!("sha256={expected}")));

    older.secrets = signing(&[(PRIVATE_KEY, None)]).secrets;
    assert_eq!(older.headers(ID, AT, BODY).unwrap().len(), 1);
}

#[test]
fn a_locked_hook_is_not_sent_unsigned_and_nothing_shows_a_secret() {
    let locked = HookSigning { locked: Some("why".to_owned()), ..HookSigning::default() };
    assert!(locked.is_wanted());
    assert_eq!(locked.headers(ID, AT, BODY), Err("why".to_owned()));
    let shown = format!("{:?}", signing(&[(SHARED_SECRET, None), (PRIVATE_KEY, Some(1))]));
    assert!(!shown.contains("MfKQ") && !shown.contains("VEVT"), "{shown}");
}
