//! Settings: right ones take effect, wrong ones are named all at once.

use serde_json::{Value, json};
use tests::{Home, TestHost, program, say};

#[tokio::test]
async fn three_mistakes_are_named_at_once_with_what_would_be_right() {
    let settings = "[bus]\nkind = \"kafka\"\n[delivery]\nconnect_timeout_ms = 0\nretry = 3\n";
    let home = Home::new(settings, &[]);
    let file = home.path("hookline.toml").display().to_string();

    for command in [vec!["config", "--check", &file], vec!["run", "--config", &file]] {
        let said = say(&command).await;
        assert_ne!(said.code, Some(0), "{command:?}");
        let parts = [
            "3 settings are wrong",
            "bus.kind: \"kafka\"",
            "\"embedded\" or \"amqp\"",
            "delivery.retry",
            "is not a setting",
            "delivery.connect_timeout_ms: 0",
            "a whole number from 1",
            "hookline.toml",
        ];
        for part in parts {
            assert!(said.err.contains(part), "{part} is missing in {}", said.err);
        }
    }
}

#[tokio::test]
async fn the_environment_goes_over_the_file_over_the_defaults() {
    let home = Home::new(
        "data_dir = \"from-file\"\nplugins_dir = \"from-file\"\n[bus]\nqueue = \"from-file\"\n",
        &[],
    );
    let mut command = program(&["config", "--config"]);
    command.arg(home.path("hookline.toml")).env("HOOKLINE_BUS__QUEUE", "from-env");

    let output = command.output().await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();

    assert!(out.contains("bus.queue = \"from-env\"  # from env HOOKLINE_BUS__QUEUE"), "{out}");
    assert!(out.contains("data_dir = \"from-file\"  # from "), "{out}");
    assert!(out.contains("bus.kind = \"embedded\"  # from default"), "{out}");
}

#[tokio::test]
async fn flags_go_over_the_environment_and_the_file() {
    let home = Home::new("data_dir = \"from-file\"\n", &[]);
    let mut command = home.run();
    command.env("HOOKLINE_DATA_DIR", home.path("from-env"));

    let (said, home) = home.start_as(command).await.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{said:?}");
    let made = ["data", "from-env", "from-file"].map(|name| home.path(name).exists());
    assert_eq!(made, [true, false, false]);
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_an_error() {
    let mut command = program(&["config"]);
    command.env("HOOKLINE_BUS__QUEU", "x");

    let output = command.output().await.unwrap();

    assert!(!output.status.success());
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("HOOKLINE_BUS__QUEU"), "{err}");
}

#[tokio::test]
async fn a_plugins_folder_that_does_not_exist_is_named() {
    let error = TestHost::refusal_to_start("").await;
    assert!(error.contains("reading the plugins folder") && error.contains("/plugins"), "{error}");
}

#[tokio::test]
async fn a_data_folder_in_use_is_refused() {
    let first = Home::new("", &[]).start().await;
    let mut command = program(&["run", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(first.folder().join("data")).arg("--plugins").arg(first.folder().join("plugins"));

    let output = command.output().await.unwrap();

    assert!(!output.status.success());
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("is locked") && err.contains("data_dir"), "{err}");
}

#[tokio::test]
async fn a_log_in_json_is_one_object_a_line_with_its_fields_at_the_top() {
    let home = Home::new("[log]\nformat = \"json\"\n", &["webhooks_channel_create"]);

    let (said, _) = home.start().await.signalled("TERM").await;

    let lines: Vec<Value> = said.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} is missing in {line}");
        }
    }
    let said = |message: &str| lines.iter().find(|line| line["message"] == message);
    let loaded = said("module loaded").expect("a line about the module");
    assert_eq!((&loaded["level"], &loaded["module"]), (&json!("INFO"), &json!("webhooks_channel_create")));
    assert_eq!(loaded["generation"], 1);
    assert!(said("stopped").is_some());
}

#[tokio::test]
async fn the_level_of_the_log_is_what_is_left_out() {
    let home = Home::new("[log]\nlevel = \"error\"\n", &["webhooks_channel_create"]);

    let (said, _) = home.start().await.signalled("TERM").await;

    assert_eq!(said.err, "");
}
