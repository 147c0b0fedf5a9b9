//! RFC 3261 10.3, rule by rule, on bindings alone.

use super::*;

const NOW: i64 = 1_000;

fn contact(uri: &str, expires: u32) -> Wanted {
    Wanted { uri: Str::from(uri), expires, ..Wanted::default() }
}

fn ask(call_id: &str, cseq: u32, contacts: Vec<Wanted>) -> Ask {
    Ask { call_id: Str::from(call_id), cseq, contacts: Contacts::These(contacts), ..Ask::default() }
}

fn rules() -> Rules {
    Rules { cseq_delay: 20, ..Rules::default() }
}

struct Names(u32);

impl Names {
    fn next(&mut self) -> Str {
        self.0 += 1;
        Str::from(self.0.to_string())
    }
}

/// Applies one request after the other, at their times; the codes and what is there at the end.
fn play(rules: &Rules, requests: &[(i64, Ask)]) -> (Vec<i32>, String) {
    let (mut stored, mut names, mut codes) = (Vec::new(), Names(0), Vec::new());
    for (at, ask) in requests {
        match register(ask, &stored, rules, NOW + at, &mut || names.next()) {
            Ok(plan) => {
                codes.push(plan.code);
                stored = plan.bindings;
            }
            Err(why) => codes.push(why.code() * 100 - i32::from(why.status().0)),
        }
    }
    let text = |b: &Binding| format!("{}={}", b.contact.to_lossy(), b.expires - NOW);
    (codes, stored.iter().map(text).collect::<Vec<_>>().join(" "))
}

const OLD: i32 = -100 - 400;
const FULL: i32 = -200 - 503;

#[test]
fn contacts_are_added_refreshed_and_removed() {
    let a = |cseq, expires| ask("c", cseq, vec![contact("sip:a@x", expires)]);
    let b = ask("d", 1, vec![contact("sip:b@x", 50)]);
    let query = Ask { contacts: Contacts::Query, ..Ask::default() };
    let requests = [(0, a(1, 100)), (0, b), (30, a(2, 100)), (30, query.clone()), (60, query), (60, a(3, 0))];
    assert_eq!(play(&rules(), &requests[..4]).1, "sip:a@x=130 sip:b@x=50");
    assert_eq!(play(&rules(), &requests), (vec![1, 1, 2, 4, 4, 3], String::new()));
}

#[test]
fn all_contacts_go_at_once() {
    let all = |call: &str, cseq| Ask { contacts: Contacts::All, ..ask(call, cseq, Vec::new()) };
    let a = (0, ask("c", 5, vec![contact("sip:a@x", 100), contact("sip:b@x", 100)]));
    assert_eq!(play(&rules(), &[a.clone(), (0, all("other", 1))]), (vec![1, 3], String::new()));
    assert_eq!(play(&rules(), &[a.clone(), (0, all("c", 6))]), (vec![1, 3], String::new()));
    let (codes, left) = play(&rules(), &[a, (0, all("c", 4))]);
    assert_eq!((codes, left.as_str()), (vec![1, OLD], "sip:a@x=100 sip:b@x=100"));
}

#[test]
fn an_older_request_changes_nothing() {
    let a = |call: &str, cseq, at, life| (at, ask(call, cseq, vec![contact("sip:a@x", life)]));
    let twice = play(&rules(), &[a("c", 5, 0, 100), a("c", 4, 1, 200)]);
    assert_eq!(twice, (vec![1, OLD], "sip:a@x=100".to_string()));
    // The same once more is one request, for a while.
    let again = play(&rules(), &[a("c", 5, 0, 100), a("c", 5, 19, 200), a("c", 5, 20, 200)]);
    assert_eq!(again, (vec![1, 1, OLD], "sip:a@x=100".to_string()));
    // Another Call-ID: a client that was started anew.
    let other = play(&rules(), &[a("c", 5, 0, 100), a("d", 1, 1, 200)]);
    assert_eq!(other, (vec![1, 2], "sip:a@x=201".to_string()));
}

#[test]
fn all_contacts_of_a_request_are_taken_or_none() {
    let first = (0, ask("c", 5, vec![contact("sip:a@x", 100)]));
    let mixed = (1, ask("c", 4, vec![contact("sip:b@x", 100), contact("sip:a@x", 0)]));
    assert_eq!(play(&rules(), &[first.clone(), mixed]), (vec![1, OLD], "sip:a@x=100".to_string()));
    let few = Rules { max_contacts: 2, ..rules() };
    let many = (1, ask("d", 1, vec![contact("sip:b@x", 100), contact("sip:c@x", 100)]));
    assert_eq!(play(&few, &[first.clone(), many]), (vec![1, FULL], "sip:a@x=100".to_string()));
    let swap = (1, ask("d", 1, vec![contact("sip:b@x", 100), contact("sip:a@x", 0), contact("sip:c@x", 100)]));
    assert_eq!(play(&few, &[first, swap]).1, "sip:b@x=101 sip:c@x=101");
}

#[test]
fn the_same_contact_twice_in_a_request_is_one() {
    let twice = (0, ask("c", 1, vec![contact("sip:a@x", 100), contact("sip:a@X", 200)]));
    assert_eq!(play(&rules(), &[twice]), (vec![1], "sip:a@X=200".to_string()));
    let gone = (0, ask("c", 1, vec![contact("sip:a@x", 100), contact("sip:a@x", 0)]));
    assert_eq!(play(&rules(), &[gone]).1, "");
}

#[test]
fn contacts_are_compared_as_uris() {
    let a = |cseq, uri: &str| (0, ask("c", cseq, vec![contact(uri, 100)]));
    let same = play(&rules(), &[a(1, "sip:a@x.org;transport=udp"), a(2, "sip:%61@X.ORG;transport=UDP")]);
    assert_eq!(same.0, [1, 2]);
    let different = play(&rules(), &[a(1, "sip:a@x.org"), a(2, "sip:A@x.org"), a(3, "sip:a@x.org:5060")]);
    assert_eq!(different.0, [1, 1, 1]);
}

#[test]
fn what_makes_a_contact_the_same_can_be_chosen() {
    let a = |call: &str, uri: &str, path: Option<&str>| {
        (0, Ask { path: path.map(Str::from), ..ask(call, 1, vec![contact(uri, 100)]) })
    };
    let by = |matching| Rules { matching, ..rules() };
    let codes = |matching, list: &[(i64, Ask)]| play(&by(matching), list).0;
    let calls = [a("c", "sip:a@x", None), a("d", "sip:a@x", None)];
    assert_eq!(codes(Matching::Contact, &calls), [1, 2]);
    assert_eq!(codes(Matching::ContactAndCallId, &calls), [1, 1]);
    let paths = [a("c", "sip:a@x", Some("<sip:p>")), a("d", "sip:a@x", Some("<sip:q>"))];
    assert_eq!(codes(Matching::ContactAndPath, &paths), [1, 1]);
    let mut ids = [a("c", "sip:a@x", None), a("c", "sip:b@x", None)];
    ids[1].1.cseq = 2;
    assert_eq!(play(&by(Matching::CallId), &ids), (vec![1, 2], "sip:b@x=100".to_string()));
}

#[test]
fn an_instance_is_known_again_by_its_name() {
    let a = |cseq, uri: &str, instance: &str, reg_id| {
        let wanted = Wanted { instance: Some(Str::from(instance)), reg_id, ..contact(uri, 100) };
        (0, ask("c", cseq, vec![wanted]))
    };
    let by = Rules { by_instance: true, ..rules() };
    let list =
        [a(1, "sip:a@x", "<i>", 0), a(2, "sip:b@x", "<i>", 0), a(3, "sip:b@x", "<j>", 0), a(4, "sip:c@x", "<i>", 1)];
    assert_eq!(play(&by, &list).0, [1, 2, 1, 1]);
    assert_eq!(play(&rules(), &list).0, [1, 1, 2, 1]);
}

#[test]
fn one_contact_per_address() {
    let only = Rules { replace_others: true, ..rules() };
    let a = |call: &str, uri: &str| (0, ask(call, 1, vec![contact(uri, 100)]));
    assert_eq!(play(&only, &[a("c", "sip:a@x"), a("d", "sip:b@x")]), (vec![1, 1], "sip:b@x=100".to_string()));
    let room = Rules { max_contacts: 1, make_room: true, ..rules() };
    assert_eq!(play(&room, &[a("c", "sip:a@x"), a("d", "sip:b@x")]), (vec![1, 1], "sip:b@x=100".to_string()));
}

#[test]
fn there_is_a_bound_in_any_case() {
    let uris: Vec<String> = (0..=MOST_CONTACTS).map(|n| format!("sip:a@x{n}")).collect();
    let all = |n: usize| uris.iter().take(n).map(|u| contact(u, 100)).collect();
    assert_eq!(play(&rules(), &[(0, ask("c", 1, all(MOST_CONTACTS)))]).0, [1]);
    assert_eq!(play(&rules(), &[(0, ask("c", 1, all(MOST_CONTACTS + 1)))]).0, [FULL]);
}

#[test]
fn who_has_too_many_may_still_refresh_them() {
    let two = (0, ask("c", 1, vec![contact("sip:a@x", 100), contact("sip:b@x", 100)]));
    let mut names = Names(0);
    let stored = register(&two.1, &[], &rules(), NOW, &mut || names.next()).unwrap().bindings;
    let one = Rules { max_contacts: 1, ..rules() };
    let again = ask("c", 2, vec![contact("sip:a@x", 100)]);
    assert_eq!(register(&again, &stored, &one, NOW + 1, &mut || names.next()).unwrap().code, 2);
    let third = ask("c", 3, vec![contact("sip:c@x", 100)]);
    assert_eq!(register(&third, &stored, &one, NOW + 1, &mut || names.next()), Err(Refusal::TooManyContacts));
}

#[test]
fn order_and_rows() {
    let q = |uri: &str, q| Wanted { q, ..contact(uri, 100) };
    let all = ask("c", 1, vec![q("sip:none@x", None), q("sip:low@x", Some(1)), q("sip:high@x", Some(900))]);
    let writes = Rules { writes: true, ..rules() };
    let mut names = Names(0);
    let plan = register(&all, &[], &writes, NOW, &mut || names.next()).unwrap();
    let uris: Vec<_> = plan.bindings.iter().map(|b| b.contact.to_lossy().into_owned()).collect();
    assert_eq!(uris, ["sip:high@x", "sip:low@x", "sip:none@x"]);
    assert!(plan.bindings.iter().all(|b| b.row == Row::Missing) && plan.set.len() == 3);
    let mut stored = plan.bindings;
    stored.iter_mut().for_each(|b| b.row = Row::Same);
    let again = ask("c", 2, vec![q("sip:low@x", Some(950)), q("sip:high@x", Some(0)), contact("sip:none@x", 0)]);
    let plan = register(&again, &stored, &writes, NOW + 5, &mut || names.next()).unwrap();
    let rows: Vec<_> = plan.bindings.iter().map(|b| (b.contact.to_lossy().into_owned(), b.row)).collect();
    assert_eq!(rows, [("sip:low@x".to_string(), Row::Old), ("sip:high@x".to_string(), Row::Old)]);
    assert_eq!((plan.gone.len(), plan.gone[0].row), (1, Row::Same));
    let memory = Ask { flags: binding::MEMORY_ONLY, ..ask("e", 1, vec![contact("sip:m@x", 5)]) };
    let plan = register(&memory, &[], &writes, NOW, &mut || names.next()).unwrap();
    assert_eq!(plan.bindings[0].row, Row::Same);
}

#[test]
fn what_has_ended_is_no_longer_there() {
    let a = |at, call: &str, uri: &str| (at, ask(call, 1, vec![contact(uri, 100)]));
    let one = Rules { max_contacts: 1, ..rules() };
    assert_eq!(play(&one, &[a(0, "c", "sip:a@x"), a(100, "d", "sip:b@x")]), (vec![1, 1], "sip:b@x=200".to_string()));
    // Nor does its CSeq count.
    assert_eq!(play(&rules(), &[a(0, "c", "sip:a@x"), a(100, "c", "sip:a@x")]).0, [1, 1]);
}
