//! Tables of addresses, names and ways to write them, with what the guard says.

use super::*;

fn guard(allowed: &[&str]) -> Guard {
    Guard::allowing(allowed.iter().map(|net| net.parse().unwrap()).collect())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn public_addresses_are_spoken_to() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00::1",
        "3fff:1000::1",
        "2001:30::1",
    ] {
        assert_eq!(guard(&[]).check(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn every_special_network_is_refused_to_its_edges() {
    for (kind, texts) in [
        ("the unspecified address", &["0.0.0.0", "::"][..]),
        ("an address of this network", &["0.0.0.1", "0.255.255.255"]),
        ("a loopback address", &["127.0.0.1", "127.255.255.255", "127.1.2.3", "::1"]),
        (
            "a private address",
            &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
        ),
        ("a link-local address", &["169.254.0.0", "169.254.255.255", "fe80::", "febf:ffff::1"]),
        ("a shared address behind a carrier's NAT", &["100.64.0.0", "100.127.255.255"]),
        (
            "the address of a metadata service",
            &[
                "169.254.169.254",
                "169.254.170.2",
                "100.100.100.200",
                "192.0.0.192",
                "168.63.129.16",
                "fd00:ec2::254",
                "fd20:ce::254",
            ],
        ),
        ("a multicast address", &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ffff::1"]),
        ("the broadcast address", &["255.255.255.255"]),
        (
            "a reserved address",
            &["240.0.0.0", "255.255.255.254", "4000::1", "200::1", "e000::1", "64:ff9b:2::1"],
        ),
        (
            "an address for protocols",
            &["192.0.0.0", "192.0.0.255", "2001:10::1", "2001:2f:ffff::", "5f00::1"],
        ),
        (
            "an address for documentation",
            &[
                "192.0.2.0",
                "192.0.2.255",
                "198.51.100.1",
                "203.0.113.255",
                "2001:db8::1",
                "2001:db8:ffff::",
                "3fff::1",
                "3fff:fff::1",
            ],
        ),
        ("an address of 6to4 relays", &["192.88.99.1"]),
        ("an address for benchmarks", &["198.18.0.0", "198.19.255.255", "2001:2::1"]),
        ("a unique local address", &["fc00::1", "fdff:ffff::1"]),
        ("a site-local address", &["fec0::1", "feff::1"]),
        ("an address that discards", &["100::1"]),
        ("an address of a local NAT64", &["64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1"]),
    ] {
        for text in texts {
            let refusal = guard(&[]).check(address(text)).expect_err(text);
            assert_eq!((refusal.kind, refusal.carried), (kind, None), "{text}");
        }
    }
}

#[test]
fn an_ipv4_address_inside_an_ipv6_one_decides() {
    for (form, inside, public) in [
        ("IPv4-mapped", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
        ("IPv4-mapped", "::ffff:a9fe:a9fe", "::ffff:808:808"),
        ("IPv4-translated", "::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"),
        ("IPv4-compatible", "::127.0.0.1", "::8.8.8.8"),
        ("IPv4-compatible", "::2", "::808:808"),
        ("NAT64", "64:ff9b::192.168.0.1", "64:ff9b::8.8.8.8"),
        ("6to4", "2002:7f00:1::", "2002:808:808::1"),
        ("6to4", "2002:a9fe:a9fe::1", "2002:101:101::"),
        ("Teredo", "2001:0:808:808:0:ffff:f5ff:fffe", "2001:0:808:808:0:ffff:f7f7:f7f7"),
        ("Teredo server", "2001:0:7f00:1:0:0:f7f7:f7f7", "2001:0:101:101::f7f7:f7f7"),
        ("ISATAP", "2606:4700::5efe:10.0.0.1", "2606:4700::5efe:8.8.8.8"),
        ("ISATAP", "2606:4700::200:5efe:127.0.0.1", "2606:4700::200:5efe:1.1.1.1"),
    ] {
        let refusal = guard(&[]).check(address(inside)).expect_err(inside);
        assert_eq!(refusal.carried.map(|(form, _)| form), Some(form), "{inside}");
        assert_eq!(guard(&[]).check(address(public)), Ok(()), "{public}");
    }
    // A tunnel inside a network that is refused does not open it.
    assert!(guard(&[]).check(address("fe80::5efe:8.8.8.8")).is_err());
}

#[test]
fn listed_networks_are_let_through_in_every_form_and_nothing_beside_them() {
    for (allowed, text, expected) in [
        ("127.0.0.0/8", "127.0.0.1", true),
        ("127.0.0.0/8", "::ffff:127.0.0.1", true),
        ("127.0.0.0/8", "::127.0.0.1", true),
        ("127.0.0.0/8", "64:ff9b::127.0.0.1", true),
        ("127.0.0.0/8", "2002:7f00:1::", true),
        ("127.0.0.0/8", "2001:0:808:808:0:ffff:80ff:fffe", true),
        ("127.0.0.0/8", "::1", false),
        ("127.0.0.0/8", "0.0.0.0", false),
        ("127.0.0.0/8", "10.0.0.1", false),
        ("127.0.0.0/8", "::ffff:10.0.0.1", false),
        ("127.0.0.1/32", "127.0.0.2", false),
        ("::1/128", "::1", true),
        ("::1/128", "127.0.0.1", false),
        ("::ffff:0:0/96", "::ffff:10.0.0.1", true),
        ("::ffff:0:0/96", "10.0.0.1", false),
        ("64:ff9b:1::/48", "64:ff9b:1::10.0.0.1", true),
        ("2002::/16", "2002:7f00:1::", true),
        ("169.254.169.254/32", "169.254.169.254", true),
        ("169.254.0.0/16", "169.254.169.254", true),
        ("fd00::/8", "fd00:ec2::254", true),
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "fe80::1", false),
    ] {
        assert_eq!(guard(&[allowed]).check(address(text)).is_ok(), expected, "{allowed}: {text}");
    }
}

#[test]
fn an_address_is_recognised_however_it_is_written() {
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F.0.0.1",
        "017700000001",
        "0177.0.0.01",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "127.0.0.1.",
        "127.1.",
        "%31%32%37.0.0.1",
        "127%2e0%2E0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "⑫7.0.0.1",
        "user:password@127.0.0.1",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::FFFF:127.0.0.1]",
        "0",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[fd00:ec2::254]",
    ] {
        let text = format!("http://{host}:8080/path");
        let url = Url::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let refusal = guard(&[]).check_url(&url).expect_err(host);
        assert!(guard(&[]).check_saved(&url).is_err(), "{host}");
        assert_eq!(refusal.name, None);
        let allowed =
            ["127.0.0.0/8", "::1/128", "0.0.0.0/32", "::/128", "169.254.169.254/32", "fd00:ec2::254/128"];
        assert_eq!(guard(&allowed).check_url(&url), Ok(TargetHost::Address), "{host}");
    }
    // What only looks like an address is none for the parser either.
    for text in [
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://0x7g.1/",
        "http://[fe80::1%25eth0]/",
        "http://127.0.0.1%00/",
    ] {
        assert!(Url::parse(text).is_err(), "{text}");
    }
}

#[test]
fn names_are_left_to_their_resolution_but_for_those_of_this_machine() {
    for (host, saved) in [
        ("localhost", false),
        ("LOCALHOST", false),
        ("localhost.", false),
        ("a.localhost", false),
        ("%6cocalhost", false),
        ("ｌocalhost", false),
        ("example.com", true),
        ("localhost.example.com", true),
        ("notlocalhost", true),
        ("127.0.0.1.nip.io", true),
        ("metadata.google.internal", true),
    ] {
        let url = Url::parse(&format!("https://{host}/")).unwrap();
        assert!(matches!(guard(&[]).check_url(&url), Ok(TargetHost::Name(_))), "{host}");
        assert_eq!(guard(&[]).check_saved(&url).is_ok(), saved, "{host}");
        assert_eq!(guard(&["::1/128"]).check_saved(&url), Ok(()), "{host}");
    }
}

#[test]
fn of_a_names_addresses_the_allowed_ones_are_left_and_one_must_be() {
    let vet = |texts: &[&str]| guard(&[]).vet("x.test", texts.iter().map(|text| address(text)).collect());
    assert_eq!(
        vet(&["8.8.8.8", "10.0.0.1", "2606:4700::1"]),
        Ok(vec![address("8.8.8.8"), address("2606:4700::1")])
    );
    assert_eq!(vet(&[]), Ok(vec![]));
    assert_eq!(
        vet(&["10.0.0.1", "::1"]).unwrap_err().to_string(),
        "x.test leads to 10.0.0.1, which is a private address; \
         delivery.allow_targets would have to list it, such as \"10.0.0.1/32\""
    );
    assert!(guard(&[]).vet_all("x.test", &[address("8.8.8.8"), address("10.0.0.1")]).is_err());
    assert_eq!(guard(&[]).vet_all("x.test", &[address("8.8.8.8")]), Ok(()));
}

#[test]
fn a_refusal_says_which_address_why_and_what_would_allow_it() {
    for (text, expected) in [
        (
            "127.0.0.1",
            "127.0.0.1 is a loopback address; delivery.allow_targets would have to list it, such as \"127.0.0.1/32\"",
        ),
        (
            "fe80::1",
            "fe80::1 is a link-local address; delivery.allow_targets would have to list it, such as \"fe80::1/128\"",
        ),
        (
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.1 carries 10.0.0.1 (IPv4-mapped), a private address; \
          delivery.allow_targets would have to list it, such as \"10.0.0.1/32\"",
        ),
    ] {
        assert_eq!(guard(&[]).check(address(text)).unwrap_err().to_string(), expected);
    }
}

#[test]
fn one_exact_address_is_let_through_with_its_port_only() {
    let guard = guard(&[]).and_exactly(Some("127.0.0.1:8081".parse().unwrap()));
    let ok = |text| guard.check_url(&Url::parse(text).unwrap()).is_ok();
    assert!(ok("http://127.0.0.1:8081/x"));
    assert!(!ok("http://127.0.0.1:8082/") && !ok("http://127.0.0.1/") && !ok("http://127.0.0.2:8081/"));
    assert!(guard.check(address("127.0.0.1")).is_err());
}

#[test]
fn a_closed_guard_lets_nothing_through_but_the_one_address_that_it_was_given() {
    let guard = Guard::closed().and_exactly(Some("127.0.0.1:7000".parse().unwrap()));
    for text in ["1.1.1.1", "127.0.0.1", "2606:4700::1111"] {
        let refusal = guard.check(address(text)).unwrap_err().to_string();
        assert_eq!(
            refusal,
            format!("{text} is outside of a private host, which speaks to its own receiver alone")
        );
    }
    for (url, spoken_to) in
        [("http://127.0.0.1:7000/x", true), ("http://127.0.0.1:7001/", false), ("http://1.1.1.1/", false)]
    {
        assert_eq!(guard.check_url(&Url::parse(url).unwrap()).is_ok(), spoken_to, "{url}");
    }
}
