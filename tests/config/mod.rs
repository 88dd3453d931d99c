//! The configuration: what is accepted, and every way it is refused.

use std::collections::HashMap;

use sessgate::config::{self, Settings};

mod defaults;
mod documentation;
mod hostile;
mod problems;
mod redis;
mod reload;
mod secrets;
mod values;

const SHIPPED: &str = include_str!("../../config.yaml");

fn parse(text: &str) -> Result<Settings, String> {
    parse_with(text, &[])
}

fn parse_with(text: &str, env: &[(&str, &str)]) -> Result<Settings, String> {
    let env: HashMap<_, _> = env.iter().copied().collect();
    config::parse(text, "f", &|name| env.get(name).map(ToString::to_string)).map_err(|problems| problems.to_string())
}

/// All that is told of `text`.
#[track_caller]
fn problems(text: &str) -> String {
    parse(text).expect_err("should be refused")
}

#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    for (text, told) in cases {
        assert_eq!(problems(text), *told, "for {text:?}");
    }
}
