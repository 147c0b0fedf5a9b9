use super::*;

fn tokens(text: &str) -> (Vec<(Kind, String)>, Diagnostics) {
    let mut diags = Diagnostics::default();
    let mut out = Vec::new();
    lex(0, text, &mut diags, &mut out);
    let named = out.iter().map(|t| (t.kind, text[t.span.start as usize..t.span.end as usize].to_owned())).collect();
    (named, diags)
}

fn kinds(text: &str) -> Vec<Kind> {
    let (t, d) = tokens(text);
    assert!(d.list().is_empty(), "{:?}", d.list());
    t.into_iter().map(|t| t.0).collect()
}

fn texts(text: &str) -> Vec<String> {
    let (t, d) = tokens(text);
    assert!(d.list().is_empty(), "{:?}", d.list());
    t.into_iter().map(|t| t.1).collect()
}

fn codes(text: &str) -> Vec<&'static str> {
    tokens(text).1.list().iter().map(|d| d.code).collect()
}

#[test]
fn comments_nest_and_a_double_slash_is_none() {
    assert_eq!(texts("a # b\nc /* d /* e */ f\n */ g"), ["a", "c", "g"]);
    assert_eq!(kinds("//"), [Kind::Op(BinaryOp::Div); 2]);
    assert_eq!(codes("/* a /* b */"), ["E0005"]);
    assert_eq!(codes("/*/"), ["E0005"]);
    assert_eq!(texts("/**/a"), ["a"]);
}

#[test]
fn numbers() {
    assert_eq!(kinds("0 10 0x1F 0666"), [0, 10, 31, 0o666].map(Kind::Int));
    assert_eq!(kinds("0xffffffff 2147483648"), [Kind::Int(-1), Kind::Int(1 << 31)]);
    assert_eq!(kinds("089 2147483649 3com 0x"), [Kind::Word; 4]);
    assert_eq!(kinds("1.5"), [Kind::Int(1), Kind::Dot, Kind::Int(5)]);
}

#[test]
fn addresses() {
    assert_eq!(kinds("10.0.0.0/8 10.0.0.0/255.0.0.0 1.2.3.4 fe80::1 ::1 2001:db8::/32"), [Kind::Net; 6]);
    assert_eq!(texts("[::1]:5060"), ["[", "::1", "]", ":", "5060"]);
    assert_eq!(texts("udp:127.0.0.1:5060"), ["udp", ":", "127.0.0.1", ":", "5060"]);
    assert_eq!(kinds("case 1: a"), [Kind::Ident, Kind::Int(1), Kind::Colon, Kind::Ident]);
    assert_eq!(texts("dead:beef"), ["dead", ":", "beef"]);
}

#[test]
fn variables_end_where_they_should() {
    assert_eq!(texts("$rU==NULL"), ["$rU", "==", "NULL"]);
    assert_eq!(texts("$var(a)+$avp(s:x);"), ["$var(a)", "+", "$avp(s:x)", ";"]);
    assert_eq!(texts("$(hdr(X)[1]{s.select,1,;}) )"), ["$(hdr(X)[1]{s.select,1,;})", ")"]);
    assert_eq!(texts("$msg.branch=$json(a/$var(k)[0])"), ["$msg.branch", "=", "$json(a/$var(k)[0])"]);
    assert_eq!(codes("$(ru;\n a"), ["E0008"]);
    assert_eq!(codes("$ ;"), ["E0008"]);
    assert_eq!(codes("${HOME}/x"), ["E0012"]);
}

#[test]
fn strings() {
    assert_eq!(
        kinds(
            r#""a\"b" 'c\' "d
e""#
        ),
        [Kind::Str, Kind::RawStr, Kind::Str]
    );
    let (_, d) = tokens("xlog(\"a);\nxlog(\"b\");");
    assert_eq!(d.list()[0].code, "E0004");
    assert_eq!(d.list()[0].related.len(), 1);
    assert_eq!(codes("\"a\0b"), ["E0003"]);
    assert_eq!(codes("\"a\\"), ["E0004"]);
}

#[test]
fn operators() {
    use Kind::*;
    assert_eq!(
        kinds("= == =~ := != !~ ! <= << < >= >> > && and || or not += & | ^ ~"),
        [
            Assign(AssignOp::Set),
            Compare(CompareOp::Eq),
            Compare(CompareOp::Match),
            Assign(AssignOp::Reset),
            Compare(CompareOp::Ne),
            Compare(CompareOp::NoMatch),
            Not,
            Compare(CompareOp::Le),
            Op(BinaryOp::Shl),
            Compare(CompareOp::Lt),
            Compare(CompareOp::Ge),
            Op(BinaryOp::Shr),
            Compare(CompareOp::Gt),
            And,
            And,
            Or,
            Or,
            Not,
            Assign(AssignOp::Add),
            Op(BinaryOp::BitAnd),
            Op(BinaryOp::BitOr),
            Op(BinaryOp::BitXor),
            Tilde,
        ]
    );
}

#[test]
fn stray_characters_are_named() {
    assert_eq!(codes("a @ b"), ["E0006"]);
    assert_eq!(codes("xlog(\u{201c}x\u{201d})"), ["E0006", "E0006"]);
    assert_eq!(codes("a \\\n b"), Vec::<&str>::new());
    assert_eq!(codes(&"@".repeat(1000)).len(), MAX_FINDINGS as usize);
}
