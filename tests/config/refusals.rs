//! Refused values and their messages.

use conpool::PoolConfig;
use serde_json::{Value, json};

fn refusal(settings: Value) -> String {
    match serde_json::from_value::<PoolConfig>(settings) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

/// Asserts that each value of a setting is refused with this rule.
#[track_caller]
fn refused(name: &str, rule: &str, values: &[Value]) {
    for value in values {
        let shown = match value {
            Value::Array(_) => "[..]".to_owned(),
            Value::Object(_) => "{..}".to_owned(),
            value => value.to_string(),
        };
        assert_eq!(
            refusal(json!({ name: value })),
            format!("{name} = {shown}: {rule}")
        );
    }
}

#[test]
fn an_unknown_name_is_refused_and_the_close_one_told() {
    for (name, rule) in [
        (
            "max_sise",
            "is no setting of a pool; did you mean max_size?",
        ),
        (
            "maxConection",
            "is no setting of a pool; did you mean max_connections?",
        ),
        ("password", "is no setting of a pool"),
    ] {
        assert_eq!(
            refusal(json!({ name: "secret" })),
            format!("{name}: {rule}")
        );
    }
    assert_eq!(
        refusal(json!({ "backoff": { "initail": "1s" } })),
        "backoff.initail: is no setting of a pool; did you mean backoff.initial?"
    );
    assert_eq!(
        refusal(json!({ "backoff": { "backoff": {} } })),
        "backoff.backoff: is no setting of a pool"
    );
}

#[test]
fn a_total_below_the_share_of_one_key_is_refused() {
    assert_eq!(
        refusal(json!({ "totalMaxSize": 20, "max_per_host": 30 })),
        "max_per_host = 30: must be at most max_total (20)"
    );
}

#[test]
fn a_setting_given_twice_is_refused_under_both_names() {
    let twice = |text: &str| {
        let error = serde_json::from_str::<PoolConfig>(text).unwrap_err();
        error
            .to_string()
            .split(" at line")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        twice(r#"{ "max_size": 1, "maxConnections": 1 }"#),
        "maxConnections: is the same setting as max_size, which is given too"
    );
    assert_eq!(
        twice(r#"{ "backoff_max": "9s", "backoff": { "max": "9s" } }"#),
        "backoff.max: is the same setting as backoff_max, which is given too"
    );
    assert_eq!(
        twice(r#"{ "name": "a", "name": "a" }"#),
        "name: is given twice"
    );
    assert_eq!(
        twice(r#"{ "backoff": { "jitter": 0 }, "backoff": { "max": "9s" } }"#),
        "backoff: is given twice"
    );
}

#[test]
fn a_duration_without_a_unit_is_refused_with_the_unit_to_add() {
    for (value, unit) in [
        (json!(600), "600s"),
        (json!("600"), "600s"),
        (json!(1.5), "1.5s"),
    ] {
        for name in ["get_timeout", "idle_timeout", "health_check", "fairness"] {
            let rule = format!(r#"a duration needs a unit, such as "{unit}""#);
            refused(name, &rule, std::slice::from_ref(&value));
        }
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    let form = r#"must be a duration, such as "30s" or "1h30m""#;
    let none = [
        json!("soon"),
        json!(true),
        json!(["5s"]),
        json!({ "secs": 5 }),
    ];
    for name in ["get_timeout", "create_timeout", "leak_threshold"] {
        refused(name, form, &none);
        refused(name, "must not be negative", &[json!(-5), json!("-5s")]);
    }
    refused("check_timeout", form, &[json!(null)]);
    refused(
        "idle_timeout",
        r#"has no unit "sec": there are ns, us, ms, s, m, h and d"#,
        &[json!("5 sec")],
    );
}

#[test]
fn never_is_refused_where_it_makes_no_sense_or_two_senses() {
    let off = [json!("never"), json!("none")];
    for name in [
        "create_timeout",
        "check_timeout",
        "dispose_timeout",
        "backoff_max",
    ] {
        let rule = r#"cannot be switched off; "unlimited" stands for no limit"#;
        refused(name, rule, &off);
    }
    let rule = r#"is ambiguous: "0" never waits, "unlimited" waits for ever"#;
    refused(
        "get_timeout",
        rule,
        &[json!("never"), json!("none"), json!(null)],
    );
    let rule = r#"is ambiguous: 0 never queues, "unlimited" is no limit"#;
    refused("max_waiters", rule, &[json!("never")]);
}

#[test]
fn the_choices_name_what_can_be_chosen() {
    let none = [
        json!("always"),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!({ "after": "5s" }),
        json!({ "eventual": "5s", "after_idle": "5s" }),
    ];
    refused(
        "health_check",
        r#"must be "never", "on_checkout" or an idle time such as "500ms" or { after_idle = "500ms" }"#,
        &none,
    );
    refused(
        "fairness",
        r#"must be "strict" or a bound such as "500us" or { eventual = "500us" }"#,
        &none,
    );
    refused(
        "health_check",
        r#"with after_idle = 5: a duration needs a unit, such as "5s""#,
        &[json!({ "after_idle": 5 })],
    );
    refused(
        "backoff",
        "must be a table of initial, factor, max and jitter",
        &[json!("50ms"), json!(null), json!([])],
    );
}

#[test]
fn the_wrong_type_is_refused_and_never_converted() {
    let counts = [json!("10"), json!(10.0), json!(true), json!([1]), json!({})];
    for name in [
        "max_size",
        "min_idle",
        "max_creating",
        "max_uses",
        "max_waiters",
    ] {
        refused(name, "must be a whole number", &counts);
        refused(name, "must not be negative", &[json!(-1)]);
    }
    refused(
        "max_size",
        "must be a whole number",
        &[json!(null), json!("never")],
    );
    refused(
        "name",
        "must be text",
        &[json!(5), json!(null), json!(true)],
    );
    let shares = [json!("0.1"), json!(null), json!(true)];
    refused("lifetime_jitter", "must be a number", &shares);
    refused("backoff_factor", "must be a number", &shares);
    let truths = [json!("true"), json!(1), json!(null)];
    refused("background_collector", "must be true or false", &truths);
}

#[test]
fn a_value_that_its_setting_forbids_is_refused_under_the_name_it_was_given() {
    for (settings, expected) in [
        (json!({ "max_size": 0 }), "max_size = 0: must be at least 1"),
        (json!({ "maxOpen": 0 }), "maxOpen = 0: must be at least 1"),
        (
            json!({ "min_idle": 5, "max_size": 4 }),
            "min_idle = 5: must be at most max_size (4)",
        ),
        (
            json!({ "max_age": 0 }),
            "max_age = 0ns: must be above zero, or None for never",
        ),
        (
            json!({ "connect_timeout": "0" }),
            "connect_timeout = 0ns: must be above zero",
        ),
        (
            json!({ "backoff": { "factor": 0.5 } }),
            "backoff.factor = 0.5: must be finite and at least 1.0",
        ),
        (
            json!({ "backoff": { "initial": "9s" } }),
            "backoff.max = 5s: must be at least backoff.initial (9s)",
        ),
        (json!({ "name": "" }), r#"name = "": must not be empty"#),
    ] {
        assert_eq!(refusal(settings), expected);
    }
}

#[test]
fn the_error_tells_the_line_where_the_format_knows_it() {
    let text = "name = 'orders'\nmin_idle = 1\nget_timeout = 30\n";
    let error = toml::from_str::<PoolConfig>(text).unwrap_err().to_string();
    assert!(error.contains("line 3"), "{error}");
    assert!(
        error.contains("get_timeout = 30: a duration needs"),
        "{error}"
    );

    let text = "name: orders\nmin_idle: 1\nget_timout: 30s\n";
    let error = serde_saphyr::from_str::<PoolConfig>(text)
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 3"), "{error}");
    assert!(error.contains("get_timout: is no setting"), "{error}");

    let text = "{\n\"max_size\": 5,\n\"min_idle\": true }";
    let error = serde_json::from_str::<PoolConfig>(text).unwrap_err();
    assert_eq!(error.line(), 3);
    let text = error.to_string();
    assert!(
        text.starts_with("min_idle = true: must be a whole number at line 3"),
        "{text}"
    );
}

#[test]
fn what_is_no_table_is_refused() {
    for value in [json!(5), json!("max_size"), json!([]), json!(null)] {
        let text = refusal(value);
        assert!(text.contains("expected a table of pool settings"), "{text}");
    }
}
