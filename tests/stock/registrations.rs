//! Registrations with the file as it is.

use crate::on_both;
use crate::phone::{Over, Phone, bindings};
use crate::server::{Kind, plain};

on_both! {
    users_register_refresh_and_leave
    several_contacts_and_the_star
    intervals_are_bounded
    a_registration_that_is_wrong_is_refused
}

fn users_register_refresh_and_leave(kind: Kind) {
    let server = plain(kind);
    for over in [Over::Udp, Over::Tcp] {
        let alice = Phone::new(&server, "alice", over);
        let mut register = alice.register(600);
        let answer = alice.ask(&register);
        assert_eq!((answer.status(), bindings(&answer)), (200, vec!["alice 600".to_owned()]), "{}", answer.raw);
        // Again with the same Call-ID.
        register.cseq += 1;
        register.via = alice.register(0).via;
        let answer = alice.ask(&register);
        assert_eq!((answer.status(), bindings(&answer)), (200, vec!["alice 600".to_owned()]), "{}", answer.raw);
        // Without a Contact: what there is.
        let mut query = alice.register(0);
        query.headers.clear();
        query.contact.clear();
        let answer = alice.ask(&query);
        assert_eq!((answer.status(), bindings(&answer).len()), (200, 1), "{}", answer.raw);
        register.cseq += 1;
        register.via = alice.register(0).via;
        register.headers = vec!["Expires: 0".to_owned()];
        let answer = alice.ask(&register);
        assert_eq!((answer.status(), bindings(&answer)), (200, vec![]), "{}", answer.raw);
        query.cseq += 1;
        query.via = alice.register(0).via;
        let answer = alice.ask(&query);
        assert_eq!((answer.status(), bindings(&answer)), (200, vec![]), "{}", answer.raw);
    }
}

fn several_contacts_and_the_star(kind: Kind) {
    let server = plain(kind);
    let phones = [Over::Udp, Over::Tcp].map(|over| Phone::registered(&server, "carol", over));
    let mut query = phones[0].register(0);
    query.headers.clear();
    query.contact.clear();
    assert_eq!(bindings(&phones[0].ask(&query)).len(), 2);
    let mut star = phones[0].register(0);
    star.contact = "*".to_owned();
    let answer = phones[0].ask(&star);
    assert_eq!((answer.status(), bindings(&answer)), (200, vec![]), "{}", answer.raw);
    // A star takes no other interval (RFC 3261 10.2.2).
    let mut star = phones[0].register(60);
    star.contact = "*".to_owned();
    assert_eq!(phones[0].ask(&star).status(), 400);
}

fn intervals_are_bounded(kind: Kind) {
    let server = plain(kind);
    let dave = Phone::new(&server, "dave", Over::Udp);
    // max_expires of the file, and the module's own least.
    assert_eq!(bindings(&dave.ask(&dave.register(100_000))), ["dave 3600"]);
    assert_eq!(bindings(&dave.ask(&dave.register(10))), ["dave 60"]);
    let mut silent = dave.register(0);
    silent.headers.clear();
    assert_eq!(bindings(&dave.ask(&silent)), ["dave 3600"]);
}

fn a_registration_that_is_wrong_is_refused(kind: Kind) {
    let server = plain(kind);
    let eve = Phone::new(&server, "eve", Over::Udp);
    let mut register = eve.register(60);
    register.contact = "<sip:eve@".to_owned();
    assert_eq!(eve.ask(&register).status(), 400);
    // No user: nobody's registration.
    let mut query = eve.register(60);
    query.max_forwards = 0;
    assert_eq!(eve.ask(&query).status(), 483);
}
