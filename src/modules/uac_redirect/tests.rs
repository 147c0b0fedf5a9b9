use super::*;
use crate::modules::host::BranchInfo;
use crate::modules::testing::{Bench, INVITE};

fn bench(replies: &[&str]) -> Bench {
    let mut b = Bench::new(INVITE);
    for contacts in replies {
        let text = format!(
            "SIP/2.0 302 Moved\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{contacts}Content-Length: 0\r\n\r\n"
        );
        b.host.tm.branches.push(BranchInfo {
            target: Target { uri: Str::from("sip:tried@h"), ..Target::default() },
            last: 302,
            redirect: Some(Message::parse(Str::from(text.as_str())).unwrap()),
            ..BranchInfo::default()
        });
    }
    b
}

fn taken(b: &Bench) -> Vec<String> {
    let first = b.host.ruri.iter().map(|u| u.to_string());
    first.chain(b.host.branches.iter().map(|t| t.uri.to_string())).collect()
}

#[test]
fn contacts_are_taken_best_first() {
    let mut b = bench(&[
        "Contact: <sip:low@h>;q=0.2, <sip:high@h>;q=0.9, <tel:+1>\r\nContact: <sip:tried@h>\r\n",
        "Contact: \"x\" <sip:mid@h>;q=0.5, <sip:high@h>;q=0.9\r\n",
    ]);
    assert_eq!(b.call(&GET_REDIRECTS, &["*"]), 1);
    assert_eq!(taken(&b), ["sip:high@h", "sip:mid@h", "sip:low@h"]);
    assert_eq!(b.host.branches[0].q, Some(500));
    for (max, expected) in
        [("2", &["sip:high@h", "sip:mid@h"][..]), ("*:1", &["sip:high@h", "sip:mid@h"]), ("1:5", &["sip:high@h"])]
    {
        let mut b = bench(&["Contact: <sip:low@h>;q=0.2, <sip:high@h>;q=0.9\r\n", "Contact: <sip:mid@h>;q=0.5\r\n"]);
        assert_eq!(b.call(&GET_REDIRECTS, &[max, "why"]), 1, "{max}");
        assert_eq!(taken(&b), expected, "{max}");
    }
    let mut b = bench(&["", "Contact: *\r\n"]);
    assert_eq!(b.call(&GET_REDIRECTS, &["*"]), -1);
    assert_eq!(b.call(&GET_REDIRECTS, &["x"]), -1000);
    // Those of an earlier round were followed already.
    let mut b = bench(&["Contact: <sip:old@h>\r\n", "Contact: <sip:new@h>\r\n"]);
    b.host.tm.first_branch = 1;
    assert_eq!(b.call(&GET_REDIRECTS, &["*"]), 1);
    assert_eq!(taken(&b), ["sip:new@h"]);
}

#[test]
fn filters() {
    let one = "Contact: <sip:a@in.example>;q=0.9, <sip:b@out.example>;q=0.8, <sip:c@else.example>;q=0.7\r\n";
    let with = |set: &dyn Fn(&mut Bench)| {
        let mut b = bench(&[one]);
        set(&mut b);
        b.call(&GET_REDIRECTS, &["*"]);
        taken(&b)
    };
    let all = ["sip:a@in.example", "sip:b@out.example", "sip:c@else.example"];
    assert_eq!(with(&|_| ()), all);
    assert_eq!(with(&|b| assert_eq!(b.call(&SET_DENY_FILTER, &["@out"]), 1)), [all[0], all[2]]);
    // Accepting wins.
    assert_eq!(
        with(&|b| {
            b.call(&SET_DENY_FILTER, &["example"]);
            b.call(&SET_ACCEPT_FILTER, &["@in"]);
        }),
        [all[0]]
    );
    let deny_all = |b: &mut Bench| {
        let mut env = b.host.env().clone();
        env.settings.redirect = Parameters { deny_others: true, accept: Some("@else".into()), ..Parameters::default() };
        b.host.env = std::rc::Rc::new(env);
    };
    assert_eq!(with(&|b| deny_all(b)), [all[2]]);
    assert_eq!(
        with(&|b| {
            deny_all(b);
            b.call(&SET_ACCEPT_FILTER, &["@in", "reset_default"]);
        }),
        [all[0]]
    );
    assert_eq!(
        with(&|b| {
            b.call(&SET_DENY_FILTER, &["@in"]);
            b.call(&SET_DENY_FILTER, &["@out", "reset_added"]);
        }),
        [all[0], all[2]]
    );
    let mut b = bench(&[one]);
    assert_eq!(b.call(&SET_DENY_FILTER, &["("]), -1000);
    assert_eq!(b.call(&SET_DENY_FILTER, &["x", "what"]), -1000);
    for _ in 0..MOST_FILTERS {
        assert_eq!(b.call(&SET_DENY_FILTER, &["x"]), 1);
    }
    assert_eq!(b.call(&SET_DENY_FILTER, &["x"]), -1);
}
