//! Input that means harm, or nothing.

use std::fmt::Write;

use proptest::prelude::*;
use sessgate::config;

use super::{SHIPPED, parse, problems};

#[test]
fn a_text_of_more_than_a_mebibyte() {
    let text = format!("#{}", "x".repeat(1024 * 1024));
    assert_eq!(problems(&text), "f: has 1048577 bytes; a configuration has at most 1048576");
    assert!(parse(&text[1..].replace('x', "\n")).is_ok());
}

#[test]
fn an_alias_bomb() {
    let mut text = "limits: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..=9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "k{level}: &a{level} [{items}]").unwrap();
    }
    let told = problems(&text);
    assert!(told.contains("anchors and aliases add more than 1048576 bytes to the document"), "{told}");
}

#[test]
fn a_chain_of_aliases_that_is_too_deep() {
    let mut text = "k0: &a0 [x]\n".to_owned();
    for level in 1..=40 {
        writeln!(text, "k{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert!(problems(&text).contains("nested deeper than 16 levels"));
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        for depth in [17, 100_000] {
            let told = problems(&format!("{}{}", open.repeat(depth), close.repeat(depth)));
            assert!(told.contains("nested deeper than 16 levels"), "{told}");
        }
    }
    assert!(problems(&"- ".repeat(10_000)).contains("nested deeper than 16 levels"));
}

#[test]
fn thousands_of_unknown_keys() {
    let mut text = String::new();
    (0..20_000).for_each(|n| writeln!(text, "k{n}: 1").unwrap());
    let told = problems(&text);
    assert_eq!(told.lines().filter(|line| line.contains("unknown key")).count(), 100);
    assert!(told.ends_with("f: and 19900 more problems"), "{}", &told[told.len() - 60..]);
}

#[test]
fn bytes_that_are_no_text() {
    let bytes = b"log:\n  level: \xff\n";
    let told = config::parse_file(bytes, "f", &|_| None).unwrap_err().to_string();
    assert_eq!(told, "f:2:10: not UTF-8");
}

#[test]
fn messages_cannot_move_the_cursor() {
    let told = problems("\"\\e[2J\\nfoo\": 1");
    assert_eq!(told, "f:1:1: unknown key `\\u{1b}[2J\\nfoo`");
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = config::parse_file(&bytes, "f", &|_| None).map_err(|problems| problems.to_string());
    }

    #[test]
    fn nearly_yaml_never_panics(text in "[-a-z0-9{}\\[\\]:,&*!?|>'\"%@`#$~<= \n\t\u{e9}\u{feff}]{0,200}") {
        let _ = config::parse(&text, "f", &|_| None).map_err(|problems| problems.to_string());
    }

    #[test]
    fn a_damaged_shipped_file_never_panics(at in 0..SHIPPED.len(), replacement in "[\\PC\n\t]{0,3}", cut in 0..30_usize) {
        let before = &SHIPPED[..SHIPPED.floor_char_boundary(at)];
        let after = &SHIPPED[SHIPPED.ceil_char_boundary((at + cut).min(SHIPPED.len()))..];
        let text = format!("{before}{replacement}{after}");
        if let Err(problems) = config::parse(&text, "f", &|_| None) {
            let lines = text.lines().count() + 1;
            for problem in problems.iter() {
                prop_assert!(problem.at.is_none_or(|at| (1..=lines).contains(&at.line) && at.column >= 1));
                prop_assert!(!problem.message.contains('\n'));
            }
        }
    }
}
