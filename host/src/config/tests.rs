//! Settings as operators write them, right and wrong.

use super::*;
use crate::model::ModuleId;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn wrong(options: LoadOptions) -> Vec<String> {
    let errors = Config::load(options).expect_err("the settings are wrong");
    errors.problems().iter().map(ToString::to_string).collect()
}

fn text(toml: &str) -> LoadOptions {
    LoadOptions { text: Some(("hookline.toml".to_owned(), toml.to_owned())), ..LoadOptions::default() }
}

/// Exactly one problem, which is this line.
#[track_caller]
fn check(toml: &str, line: &str) {
    assert_eq!(wrong(text(toml)), [line]);
}

#[test]
fn the_defaults_are_right_and_are_those_of_the_documentation() {
    let config = Config::defaults().unwrap();

    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.bus.kind, BusKind::Embedded);
    assert_eq!(config.bus.prefetch, 200);
    assert_eq!(config.store.synchronous, Synchronous::Full);
    assert_eq!(config.store.master_account_id, None);
    assert_eq!(config.delivery.profile, crate::model::Profile::Standard);
    assert_eq!(config.delivery.retry_schedule_ms.len(), 7);
    assert_eq!(config.delivery.request_timeout(), Duration::from_secs(10));
    assert_eq!(config.disabler.attempt_failure_count, 6);
    assert_eq!(config.kazoo.reserved_ccv_keys.len(), 27);
    assert_eq!(config.kazoo.object_types.len(), 10);
    assert!(config.modules.hot_reload);
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_defaults() {
    let flag = Flag { key: "bus.queue", value: "by-flag".to_owned(), flag: "--queue" };
    let options = LoadOptions {
        env: env(&[("HOOKLINE_BUS__QUEUE", "by-env"), ("HOOKLINE_BUS__PREFETCH", "7"), ("PATH", "/bin")]),
        flags: vec![flag],
        ..text("[bus]\nqueue = \"by-file\"\nprefetch = 9\nqueue_type = \"classic\"\n")
    };

    let (config, origins) = Config::load(options).unwrap();

    assert_eq!(config.bus.queue, "by-flag");
    assert_eq!(config.bus.prefetch, 7);
    assert_eq!(config.bus.queue_type, QueueType::Classic);
    let origin = |key: &str| origins.get(key).unwrap().origin.clone();
    assert_eq!(origin("bus.queue"), "flag --queue");
    assert_eq!(origin("bus.prefetch"), "env HOOKLINE_BUS__PREFETCH");
    assert_eq!(origin("bus.queue_type"), "hookline.toml");
    assert_eq!(origin("bus.kind"), "default");
}

#[test]
fn the_key_of_secrets_has_a_variable_of_its_own_and_is_never_shown() {
    let key = "0b".repeat(32);
    let (config, origins) =
        Config::load(LoadOptions { env: env(&[("HOOKLINE_SECRETS_KEY", &key)]), ..LoadOptions::default() })
            .unwrap();

    assert_eq!(config.store.secrets_key, Some(SecretsKey([11; 32])));
    let setting = origins.get("store.secrets_key").unwrap();
    assert_eq!((setting.value.as_str(), setting.origin.as_str()), ("\"***\"", "env HOOKLINE_SECRETS_KEY"));
    assert_eq!(setting.json(), "***");
    assert!(
        !format!("{config:?}").contains("11, 11") && Config::defaults().unwrap().store.secrets_key.is_none()
    );
    check(
        "[store]\nsecrets_key = \"hunter2\"\n",
        "store.secrets_key: \"***\" (from hookline.toml) is no key; \
         write 32 bytes as base64 or as 64 hexadecimal digits",
    );
}

#[test]
fn all_wrong_settings_are_named_at_once() {
    let options = LoadOptions {
        env: env(&[("HOOKLINE_DELIVERY__MAX_IN_FLIGHT", "many")]),
        ..text(
            "[bus]\nprefech = 10\nuri = \"http://broker\"\n[delivery]\nallow_targets = [\"10.0.0.0/8\", \"office\"]\n",
        )
    };

    assert_eq!(
        wrong(options),
        [
            "bus.prefech: (from hookline.toml) is not a setting; did you mean bus.prefetch?",
            "bus.uri: \"http://broker\" (from hookline.toml) is not an amqp:// or amqps:// address; \
             write one such as amqp://user:password@host:5672/%2f",
            "delivery.max_in_flight: \"many\" (from env HOOKLINE_DELIVERY__MAX_IN_FLIGHT) is not a whole number; \
             write a whole number from 1 to 65536",
            "delivery.allow_targets: [\"10.0.0.0/8\", \"office\"] (from hookline.toml) holds \"office\", which is \
             not a network; write one such as \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.7\"",
        ]
    );
}

#[test]
fn several_problems_display_as_a_count_and_one_line_each() {
    let errors = Config::from_toml("[log]\nlevel = \"loud\"\nformat = \"xml\"\n", "a.toml").unwrap_err();
    let shown = errors.to_string();

    assert!(shown.starts_with("2 settings are wrong:\n  log.format: \"xml\" (from a.toml)"), "{shown}");
    assert_eq!(shown.lines().count(), 3);
}

#[test]
fn a_value_of_the_wrong_type_says_what_to_write() {
    check(
        "[bus]\nprefetch = \"200\"\n",
        "bus.prefetch: \"200\" (from hookline.toml) is not a whole number; write a whole number from 1 to 65535",
    );
    check(
        "[modules]\nhot_reload = 1\n",
        "modules.hot_reload: 1 (from hookline.toml) is neither true nor false; write one of them, without quotes",
    );
    check(
        "[kazoo]\nobject_types = \"user\"\n",
        "kazoo.object_types: \"user\" (from hookline.toml) is not a list; write it in brackets, [..]",
    );
    check("plugins_dir = 3\n", "plugins_dir: 3 (from hookline.toml) is not text; write it in quotes");
    check(
        "bus = \"amqp\"\n",
        "bus: \"amqp\" (from hookline.toml) is the name of a section; write [bus] and its settings below it",
    );
}

#[test]
fn isolation_is_a_word_or_a_list_of_modules() {
    let (door, bell) = (ModuleId::new("webhooks_door"), ModuleId::new("webhooks_bell"));
    let isolated = |options: LoadOptions| {
        let modules = Config::load(options).unwrap().0.modules;
        (modules.isolated(&door), modules.isolated(&bell))
    };
    let by_env = |value: &str| LoadOptions {
        env: env(&[("HOOKLINE_MODULES__ISOLATION", value)]),
        ..LoadOptions::default()
    };

    assert_eq!(isolated(LoadOptions::default()), (false, false));
    assert_eq!(isolated(text("[modules]\nisolation = \"none\"\n")), (false, false));
    assert_eq!(isolated(text("[modules]\nisolation = \"process\"\n")), (true, true));
    assert_eq!(isolated(text("[modules]\nisolation = [\"webhooks_door\"]\n")), (true, false));
    assert_eq!(isolated(by_env("process")), (true, true));
    assert_eq!(isolated(by_env("webhooks_door, webhooks_bell")), (true, true));

    let right = "write \"none\", \"process\" or a list of module ids such as [\"webhooks_x\"]";
    for wrong in ["\"proces\"", "true", "\"\""] {
        let told =
            format!("modules.isolation: {wrong} (from hookline.toml) is not one of the choices; {right}");
        check(&format!("[modules]\nisolation = {wrong}\n"), &told);
    }
    check(
        "[modules]\nisolation = [\"door\"]\n",
        "modules.isolation: [\"door\"] (from hookline.toml) holds \"door\", which is not a module's id; \
         write one such as \"webhooks_x\"",
    );
}

#[test]
fn a_value_out_of_range_says_the_range() {
    check(
        "[bus]\nprefetch = 0\n",
        "bus.prefetch: 0 (from hookline.toml) is out of range; write a whole number from 1 to 65535",
    );
    check(
        "[delivery]\nrequest_timeout_ms = -1\n",
        "delivery.request_timeout_ms: -1 (from hookline.toml) is out of range; write a whole number from 1 to \
         31536000000 (milliseconds)",
    );
    check(
        "[delivery]\nretry_schedule_ms = []\n",
        "delivery.retry_schedule_ms: [] (from hookline.toml) is empty; write at least one wait in milliseconds",
    );
}

#[test]
fn a_share_is_a_number_from_none_to_all() {
    let ratio = |written: &str| {
        let toml = format!("[telemetry]\notlp_sample_ratio = {written}\n");
        Config::from_toml(&toml, "a.toml").unwrap().telemetry.otlp_sample_ratio
    };
    assert_eq!([ratio("0"), ratio("0.25"), ratio("1"), ratio("1.0")], [0.0, 0.25, 1.0, 1.0]);
    let by_env = env(&[("HOOKLINE_TELEMETRY__OTLP_SAMPLE_RATIO", "0.5")]);
    let (config, _) = Config::load(LoadOptions { env: by_env, ..LoadOptions::default() }).unwrap();
    assert_eq!(config.telemetry.otlp_sample_ratio, 0.5);

    let name = "telemetry.otlp_sample_ratio";
    for (wrong, why) in [("1.5", "is out of range"), ("2", "is out of range"), ("true", "is not a number")] {
        let told = format!("{name}: {wrong} (from hookline.toml) {why}; write a number from 0.0 to 1.0");
        check(&format!("[telemetry]\notlp_sample_ratio = {wrong}\n"), &told);
    }
}

#[test]
fn what_opentelemetry_calls_its_settings_counts_where_our_own_names_do_not_stand() {
    let endpoint = |pairs: &[(&str, &str)]| {
        let (config, origins) =
            Config::load(LoadOptions { env: env(pairs), ..LoadOptions::default() }).unwrap();
        let origin = origins.get("telemetry.otlp_endpoint").unwrap().origin.clone();
        (config.telemetry.otlp_endpoint.map(String::from).unwrap_or_default(), origin)
    };
    let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://standard:4318");
    let own = ("HOOKLINE_TELEMETRY__OTLP_ENDPOINT", "http://own:4318");

    assert_eq!(endpoint(&[]), (String::new(), "default".to_owned()));
    assert_eq!(endpoint(&[(standard.0, "")]), (String::new(), "default".to_owned()));
    assert_eq!(endpoint(&[standard]), ("http://standard:4318/".to_owned(), format!("env {}", standard.0)));
    assert_eq!(endpoint(&[own, standard]), ("http://own:4318/".to_owned(), format!("env {}", own.0)));
    let options = LoadOptions { env: env(&[("OTEL_SERVICE_NAME", "callbacks")]), ..LoadOptions::default() };
    assert_eq!(Config::load(options).unwrap().0.telemetry.service_name, "callbacks");

    let secret = "[telemetry]\notlp_endpoint = \"https://us:er:s3cret@collector\"\n";
    let (_, origins) = Config::load(text(secret)).unwrap();
    assert_eq!(origins.get("telemetry.otlp_endpoint").unwrap().value, "\"https://us:***@collector\"");
    check(
        "[telemetry]\notlp_endpoint = \"collector:4317\"\n",
        "telemetry.otlp_endpoint: \"collector:4317\" (from hookline.toml) is not an http:// or https:// address; \
         write one such as http://127.0.0.1:4318, or nothing",
    );
}

#[test]
fn a_store_that_is_not_in_this_version_is_refused_clearly() {
    check(
        "[store]\nkind = \"couchdb\"\n",
        "store.kind: \"couchdb\" (from hookline.toml) is not in this version yet; write \"sqlite\"",
    );
    check(
        "[ledger]\nkind = \"postgres\"\n",
        "ledger.kind: \"postgres\" (from hookline.toml) is not in this version yet; write \"sqlite\"",
    );
}

#[test]
fn what_the_store_says_goes_for_documents_and_ledger_unless_they_say_it_themselves() {
    let (config, _) = Config::load(text(
        "[store]\nurl = \"http://both.example/\"\n[ledger]\nurl = \"http://own.example/\"\n",
    ))
    .unwrap();
    assert_eq!(
        config.documents,
        BackendSettings { kind: BackendKind::Sqlite, url: Some("http://both.example/".to_owned()) }
    );
    assert_eq!(
        config.ledger,
        BackendSettings { kind: BackendKind::Sqlite, url: Some("http://own.example/".to_owned()) }
    );
}

#[test]
fn an_unknown_name_suggests_the_nearest_one_or_the_list() {
    check("prefetch = 3\n", "prefetch: (from hookline.toml) is not a setting; did you mean bus.prefetch?");
    check(
        "[weather]\nforecast = true\n",
        "weather.forecast: (from hookline.toml) is not a setting; `hookline config` lists every setting",
    );
    let options = LoadOptions { env: env(&[("HOOKLINE_BUS_URI", "x")]), ..LoadOptions::default() };
    assert_eq!(
        wrong(options),
        ["bus_uri: (from env HOOKLINE_BUS_URI) is not a setting; did you mean bus.uri?"]
    );
}

#[test]
fn variables_of_the_clients_and_the_tests_are_not_settings() {
    let options = LoadOptions {
        env: env(&[
            ("HOOKLINE_TOKEN", "t"),
            ("HOOKLINE_URL", "http://h"),
            ("HOOKLINE_TEST_AMQP", "amqp://h"),
        ]),
        ..LoadOptions::default()
    };
    assert!(Config::load(options).is_ok());
}

#[test]
fn lists_in_the_environment_are_written_with_commas_or_as_toml() {
    let options = LoadOptions {
        env: env(&[
            ("HOOKLINE_DELIVERY__ALLOW_TARGETS", "127.0.0.0/8, ::1"),
            ("HOOKLINE_DELIVERY__RETRY_SCHEDULE_MS", "10,20"),
            ("HOOKLINE_KAZOO__OBJECT_TYPES", r#"["user", "a,b"]"#),
            ("HOOKLINE_DISABLER__DISABLE_DISABLER", "true"),
        ]),
        ..LoadOptions::default()
    };

    let (config, _) = Config::load(options).unwrap();

    let targets: Vec<String> = config.delivery.allow_targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(config.delivery.retry_schedule_ms, [10, 20]);
    assert_eq!(config.kazoo.object_types, ["user", "a,b"]);
    assert!(config.disabler.disable_disabler);
}

#[test]
fn a_file_that_cannot_be_read_or_is_not_toml_is_named() {
    let options =
        LoadOptions { file: Some(PathBuf::from("/nowhere/hookline.toml")), ..LoadOptions::default() };
    let lines = wrong(options);
    assert!(lines[0].starts_with("/nowhere/hookline.toml: cannot be read: No such file"), "{lines:?}");

    let lines = wrong(text("[bus\nkind = 1"));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("hookline.toml: is not TOML: TOML parse error at line 1"), "{lines:?}");
    assert!(!lines[0].contains('\n'));
}

#[test]
fn passwords_of_addresses_are_never_shown() {
    let (_, origins) = Config::load(text("[bus]\nuri = \"amqp://kazoo:s3c:r@t@broker:5672/%2f\"\n")).unwrap();
    assert_eq!(origins.get("bus.uri").unwrap().value, "\"amqp://kazoo:***@broker:5672/%2f\"");

    let lines = wrong(text("[bus]\nuri = \"http://kazoo:s3cret@broker\"\n"));
    assert!(!lines[0].contains("s3cret"), "{lines:?}");
}

#[test]
fn a_kazoo_section_alone_is_a_configuration() {
    let config = Config::from_toml("[kazoo]\nreserved_ccv_keys = [\"Username\"]\n", "try").unwrap();
    assert_eq!(config.kazoo.reserved_ccv_keys, ["Username"]);
    let config = Config::from_toml("[kazoo]\nreserved_ccv_keys = [\"\"]\n", "try").unwrap();
    assert_eq!(config.kazoo.reserved_ccv_keys, [""]);
}
