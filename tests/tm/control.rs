//! Control methods about transactions.

use crate::bed::Bed;
use serde_json::{Value, json};

fn call(b: &mut Bed, method: &str, params: Value) -> Value {
    let text = b.sim.call(method, &params.to_string()).unwrap_or_else(|e| panic!("{method}: {e:?}"));
    serde_json::from_str(&text).unwrap()
}

fn refused(b: &mut Bed, method: &str, params: Value) -> String {
    b.sim.call(method, &params.to_string()).unwrap_err().message
}

#[test]
fn transactions_are_listed_and_answered() {
    let mut b = Bed::relaying("append_to_reply(\"X-Id: $T_id\\r\\n\"); t_relay();", "");
    let first = b.invite("c1", "");
    b.invite("c2", "");
    b.answer("b1", 180, "");
    b.did();
    let all = call(&mut b, "t_hash", json!([]));
    assert_eq!(all.as_array().unwrap().len(), 2);
    let one = call(&mut b, "tm:hash", json!({"call_id": "c2"}));
    let one = &one[0];
    assert_eq!((&one["method"], &one["state"], &one["cseq"]), (&json!("INVITE"), &json!("proceeding"), &json!(1)));
    assert_eq!(
        one["branches"],
        json!([{"state": "proceeding", "last": 180, "uri": "sip:bob@192.0.2.11", "dest": "192.0.2.11:5060"}])
    );
    assert_eq!(call(&mut b, "t_hash", json!(["", 1])).as_array().unwrap().len(), 1);

    let id = call(&mut b, "t_hash", json!(["c1"]))[0]["id"].as_str().unwrap().to_owned();
    let params = json!([480, "By hand", id, "mytag", "X-Hand: 1\\r\\nX-Two: 2", "text"]);
    assert_eq!(call(&mut b, "t_reply", params.clone()), json!({ "replied": id }));
    let got = b.last_to("a1");
    assert_eq!((got.m.status(), got.m.reason(), got.m.to_tag()), (480, &b"By hand"[..], Some(&b"mytag"[..])));
    assert_eq!((got.header("X-Hand").as_str(), got.header("X-Two").as_str(), got.m.body()), ("1", "2", &b"text"[..]));
    assert_eq!(refused(&mut b, "t_reply", params), "no such transaction, or it has its final reply");
    assert!(refused(&mut b, "t_reply", json!([99, "x", "0.0.0"])).contains("100 to 699"));
    assert!(refused(&mut b, "t_reply", json!([480, "x", "zero"])).contains("0.12.3"));
    assert!(refused(&mut b, "t_reply", json!([480, "x", "0.77.1"])).contains("no such transaction"));
    assert!(refused(&mut b, "t_reply", json!([480, "x", "0.0.0", "a b"])).contains("to_tag"));
    assert!(refused(&mut b, "t_hash", json!(["c1", "many"])).contains("limit"));
    b.follow(&first, "ACK", "mytag");
    b.answer("b1", 486, "");
    b.wait(200_000);
    assert_eq!(call(&mut b, "t_hash", json!([])), json!([]));
    b.end();
}

#[test]
fn a_call_is_cancelled_by_its_call_id() {
    let mut b = Bed::relaying("t_relay();", "");
    b.invite("c1", "");
    b.answer("b1", 180, "");
    b.did();
    assert!(refused(&mut b, "t_uac_cancel", json!(["other"])).contains("no such INVITE"));
    assert!(refused(&mut b, "t_uac_cancel", json!(["c1", 7])).contains("no such INVITE"));
    assert!(refused(&mut b, "t_uac_cancel", json!([])).contains("callid"));
    assert_eq!(call(&mut b, "t_uac_cancel", json!(["c1", 1])), json!({ "cancelled": "c1" }));
    assert_eq!(b.did(), ["b1 CANCEL"]);
    b.answer("b1", 487, "");
    assert_eq!(b.did(), ["b1 ACK", "a1 487"]);
    b.end();
}

#[test]
fn a_request_is_sent_and_its_final_reply_is_the_answer() {
    let mut b = Bed::relaying("t_relay();", "");
    let headers = "From: <sip:me@x>\r\nTo: <sip:you@y>\r\nX-Test: 1\r\nContent-Type: text/plain\r\n";
    let params = json!(["MESSAGE", "sip:you@192.0.2.12", headers, ".", ".", "hello"]);
    // Answered later.
    assert_eq!(refused(&mut b, "t_uac_dlg", params), "no answer");
    let got = b.last("b2", "MESSAGE");
    assert_eq!((got.m.body(), got.header("X-Test").as_str()), (&b"hello"[..], "1"));
    assert!(got.header("From").starts_with("<sip:me@x>;tag="), "{}", got.text());
    assert_eq!(got.m.headers_named(b"Content-Type").map(|h| h.value).collect::<Vec<_>>(), [b"text/plain"]);
    assert!(b.sim.take_answers().is_empty());
    b.reply(&got, 100, "");
    b.reply(&got, 202, "X-Back: 5\r\n");
    let answer: Value = serde_json::from_str(b.sim.take_answers()[0].as_ref().unwrap()).unwrap();
    assert_eq!((&answer["status"], &answer["reason"]), (&json!(202), &json!("Because")));
    assert_eq!((&answer["ruri"], &answer["next_hop"]), (&json!("sip:you@192.0.2.12"), &json!("192.0.2.12:5060")));
    assert!(answer["message"].as_str().unwrap().contains("X-Back: 5"));
    b.end();

    // Nobody answers; another next hop and socket; From with a tag of its own.
    let mut b = Bed::relaying("t_relay();", "");
    let headers = "From: <sip:me@x>;tag=own\nTo: <sip:you@y>;tag=his\nCall-ID: mine\nCSeq: 7 OPTIONS\n";
    let params = json!({"method": "OPTIONS", "ruri": "sip:you@y.example", "headers": headers,
        "next_hop": "192.0.2.13:5060", "socket": "udp:127.0.0.1:5060"});
    refused(&mut b, "tm:uac_dlg", params);
    let got = b.last("b3", "OPTIONS");
    assert_eq!((got.uri().as_str(), got.header("CSeq").as_str()), ("sip:you@y.example", "7 OPTIONS"));
    assert_eq!((got.header("Call-ID").as_str(), got.header("From").as_str()), ("mine", "<sip:me@x>;tag=own"));
    b.wait(40_000);
    let answer: Value = serde_json::from_str(b.sim.take_answers()[0].as_ref().unwrap()).unwrap();
    assert_eq!((&answer["status"], &answer["message"]), (&json!(408), &Value::Null));
    b.end();

    let mut b = Bed::relaying("t_relay();", "");
    for (params, why) in [
        (json!(["MESSAGE", "sip:a@192.0.2.12"]), "headers"),
        (json!(["MESSAGE", "sip:a@192.0.2.12", "From: <sip:me@x>"]), "lack From or To"),
        (json!(["MESSAGE", "sip:a@192.0.2.12", "nonsense"]), "no header"),
        (json!(["OPTIONS", "tel:+1", headers]), "no SIP URI"),
        (json!(["MESSAGE", "sip:a@192.0.2.12", headers]), "CSeq"),
        (json!(["ACK", "sip:a@192.0.2.12", "From: <sip:me@x>\nTo: <sip:a@b>"]), "ACK"),
        (json!(["OPTIONS", "sip:a@192.0.2.12", headers, ".", "udp:9.9.9.9:1"]), "no such listening socket"),
        (json!(["OPTIONS", "sip:a@[2001:db8::1]", headers]), "nothing could be sent"),
    ] {
        let said = refused(&mut b, "t_uac_dlg", params);
        assert!(said.contains(why), "{said}: {why}");
    }
    assert!(b.sim.take_answers().is_empty());
    b.end();

    // A name that leads nowhere is found out later.
    let mut b = Bed::with("route { exit; }", |o| o.zone.keep_silent("slow.example"));
    refused(&mut b, "t_uac_dlg", json!(["OPTIONS", "sip:a@slow.example", "From: <sip:me@x>\nTo: <sip:a@b>"]));
    assert!(b.sim.take_answers().is_empty());
    b.wait(60_000);
    let answers = b.sim.take_answers();
    assert_eq!(answers.len(), 1);
    b.end();
}
