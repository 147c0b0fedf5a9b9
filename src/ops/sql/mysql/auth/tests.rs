use super::*;

// The expected bytes were computed with an independent implementation of the algorithms.
const PASSWORD: &[u8] = b"secret";

fn nonce(n: u8) -> Vec<u8> {
    (1..=n).collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

const NATIVE: &str = "b32bb3a583e1340c0a1108d58b1be49781ad8c2f";
const SHA2: &str = "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9";
const ED25519: &str = "60a0f4f8bcb6396043e44b2a25521af16f0815ff6369cc541c281e2c4455c823\
                       2b79b21ee5bb933507725db2f2919ea09e676f6abee19c5c7b98b40a627a9707";

#[test]
fn native_password() {
    let (auth, first) = Auth::begin(b"mysql_native_password", &nonce(20), PASSWORD, Secure::No).unwrap();
    assert_eq!(first, hex(NATIVE));
    assert_eq!(auth.plugin().as_bytes(), b"mysql_native_password");
    let (_, first) = Auth::begin(b"mysql_native_password", &nonce(20), b"", Secure::No).unwrap();
    assert_eq!(first, b"");
    // A plugin that we do not begin with: the server will ask to switch.
    let (auth, first) = Auth::begin(b"auth_gssapi_client", &nonce(20), PASSWORD, Secure::No).unwrap();
    assert_eq!((auth.plugin().as_bytes(), first), (&b"mysql_native_password"[..], hex(NATIVE)));
}

#[test]
fn caching_sha2_from_the_cache() {
    let (mut auth, first) = Auth::begin(b"caching_sha2_password", &nonce(20), PASSWORD, Secure::No).unwrap();
    assert_eq!(first, hex(SHA2));
    assert_eq!(auth.more(&[3]), Ok(None));
}

#[test]
fn caching_sha2_in_full() {
    for secure in [Secure::Tls, Secure::Local] {
        let (mut auth, _) = Auth::begin(b"caching_sha2_password", &nonce(20), PASSWORD, secure).unwrap();
        assert_eq!(auth.more(&[4]), Ok(Some(b"secret\0".to_vec())));
    }
    let (mut auth, _) = Auth::begin(b"caching_sha2_password", &nonce(20), PASSWORD, Secure::No).unwrap();
    assert_eq!(auth.more(&[4]), Ok(Some(vec![2])), "asks for the key");
    let sealed = auth.more(KEY.as_bytes()).unwrap().unwrap();
    assert_eq!(sealed.len(), 256);
    assert!(!sealed.windows(6).any(|w| w == PASSWORD));
}

#[test]
fn sha256_password() {
    let begin = |password, secure| Auth::begin(b"sha256_password", &nonce(20), password, secure).unwrap();
    for secure in [Secure::Tls, Secure::Local] {
        assert_eq!(begin(PASSWORD, secure).1, b"secret\0");
    }
    assert_eq!(begin(b"", Secure::No).1, [0]);
    let (mut auth, first) = begin(PASSWORD, Secure::No);
    assert_eq!((auth.plugin().as_bytes(), &first[..]), (&b"sha256_password"[..], &[1u8][..]), "asks for the key");
    let sealed = auth.more(KEY.as_bytes()).unwrap().unwrap();
    assert_eq!(sealed.len(), 256);
    assert_eq!(auth.more(KEY.as_bytes()), Err(AuthError::Challenge), "once is enough");
    let (mut auth, _) = begin(PASSWORD, Secure::No);
    assert_eq!(auth.more(b"no key"), Err(AuthError::Key));
    // By a switch.
    let mut auth = Auth::begin(b"mysql_native_password", &[9; 20], PASSWORD, Secure::No).unwrap().0;
    let request = [b"sha256_password\0", &nonce(20)[..], &[0]].concat();
    assert_eq!(auth.switch(&request), Ok(Some(vec![1])));
    assert!(auth.more(KEY.as_bytes()).unwrap().is_some());
}

#[test]
fn switching() {
    let begin = || Auth::begin(b"mysql_native_password", &[9; 20], PASSWORD, Secure::No).unwrap().0;
    let request = |name: &[u8], data: &[u8]| [name, b"\0", data].concat();
    let with_end = [nonce(20), vec![0]].concat();
    for data in [nonce(20), with_end] {
        assert_eq!(begin().switch(&request(b"mysql_native_password", &data)), Ok(Some(hex(NATIVE))));
        assert_eq!(begin().switch(&request(b"caching_sha2_password", &data)), Ok(Some(hex(SHA2))));
    }
    assert_eq!(begin().switch(&request(b"client_ed25519", &nonce(32))), Ok(Some(hex(ED25519))));
    assert_eq!(begin().switch(&request(b"mysql_clear_password", b"")), Err(AuthError::ClearText));
    let plugin = AuthError::Plugin("mysql_old_password".to_string());
    assert_eq!(begin().switch(&request(b"mysql_old_password", &nonce(8))), Err(plugin));
    assert!(begin().switch(&request(b"dialog", b"")).unwrap_err().to_string().contains("\"dialog\""));
    for bad in [&b""[..], b"client_ed25519", b"client_ed25519\0short", b"mysql_native_password\0"] {
        assert!(begin().switch(bad).is_err(), "{bad:?}");
    }
    let (mut auth, _) = Auth::begin(b"", &[9; 20], PASSWORD, Secure::Tls).unwrap();
    assert_eq!(auth.switch(&request(b"mysql_clear_password", b"")), Ok(Some(b"secret\0".to_vec())));
}

#[test]
fn a_login_does_not_go_on_for_ever() {
    let mut auth = Auth::begin(b"mysql_native_password", &[9; 20], PASSWORD, Secure::No).unwrap().0;
    let request = [b"mysql_native_password\0", &nonce(20)[..]].concat();
    let rounds = (0..20).take_while(|_| auth.switch(&request).is_ok()).count();
    assert!(rounds < 10);
}

#[test]
fn only_sound_keys_are_used() {
    let ask = |key: &[u8], password: &[u8]| {
        let (mut auth, _) = Auth::begin(b"caching_sha2_password", &nonce(20), password, Secure::No).unwrap();
        auth.more(&[4]).unwrap();
        auth.more(key).map(|_| ())
    };
    assert_eq!(ask(KEY.as_bytes(), &[b'x'; 213]), Ok(()));
    assert_eq!(ask(KEY.as_bytes(), &[b'x'; 214]), Err(AuthError::PasswordTooLong));
    assert_eq!(ask(b"", PASSWORD), Err(AuthError::Key));
    assert_eq!(ask(b"\xff", PASSWORD), Err(AuthError::Key));
    assert_eq!(ask(b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", PASSWORD), Err(AuthError::Key));
    // Every single damaged byte either leaves a usable key or is refused; nothing panics.
    for at in 0..KEY.len() {
        for b in [0u8, b'A', b'/', b'-', 0xff] {
            let mut damaged = KEY.as_bytes().to_vec();
            damaged[at] = b;
            let _ = ask(&damaged, PASSWORD);
        }
    }
    let der = base64::engine::general_purpose::STANDARD
        .decode(KEY.lines().filter(|l| !l.starts_with('-')).collect::<String>())
        .unwrap();
    for cut in 0..der.len() {
        assert_eq!(rsa_modulus(&der[..cut]), None);
    }
    assert_eq!(rsa_modulus(&der).map(<[u8]>::len), Some(256));
}

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt2lb/DO1mkApd/5z4jx/
i0jDY2xqc17Iw7JNbq4cpVPduPhAg5M5bXOXRrhR+HXA+hr7IXd2hJJhynjWMx+U
Bly9AFlfWc1behj2jOFiX6sp+tQNYJ+FJy9iuRgnwtWqRZtGHFyAeI85tVa+E7+o
ztejYkFZ5KWIYbNt2JOo/N6/gY4GVLRkVisW55Z2hEqkXHg2mBpEWhhQbQ1MqA9f
6vDuSpsCndXpAURGbv86hlSr66CMwUYFCj1r1+iNMHTW0+6L7ieHfyjlthemNAdz
PuttpGENVaxshj+sDDJt6JiVOjPmytb+xIAK5YEqoLbPdQoqyrPCB/GoftiKrUjg
eQIDAQAB
-----END PUBLIC KEY-----
";
