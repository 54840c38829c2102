//! What the host is installed with: the systemd unit and the container's recipe, as far as neither systemd nor an
//! engine for containers is needed to try them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tests::{Home, ended, hookline, program};
use tokio::process::Command;

const PROGRAM: &str = "/usr/local/bin/hookline";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The words of a line of the unit, without the program, with the system's folders in a test's own.
fn words(unit: &str, key: &str, home: &Home) -> Vec<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let folders = [
        ("/etc/hookline", ""),
        ("/usr/local/lib/hookline/plugins", "plugins"),
        ("/var/lib/hookline", "data"),
    ];
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some(PROGRAM));
    let own = |word: &str| {
        let found = folders.iter().find_map(|(folder, own)| Some((own, word.strip_prefix(folder)?)));
        found.map_or_else(|| word.to_owned(), |(own, rest)| format!("{}{rest}", home.path(own).display()))
    };
    words.map(own).collect()
}

fn run(words: &[String]) -> Command {
    program(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn the_unit_starts_a_host_and_its_reload_loads_modules_anew() {
    let unit = read("scripts/hookline.service");
    let home = Home::new("[api]\nlisten = \"127.0.0.1:0\"\n", &["webhooks_misbehaving"]);
    let reload = words(&unit, "ExecReload", &home);
    let start = run(&words(&unit, "ExecStart", &home));

    let host = home.start_as(start).await;
    let mut reload = run(&reload);
    reload.env("HOOKLINE_URL", host.url());
    let said = ended(reload).await.success();

    assert_eq!(said, "webhooks_misbehaving 1.0.0 serves as generation 2\n");
    let (said, _) = host.signalled("TERM").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[tokio::test]
async fn systemd_takes_the_unit_and_finds_it_closed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hookline.service");
    let unit = read("scripts/hookline.service").replace(PROGRAM, &hookline().display().to_string());
    std::fs::write(&file, unit).unwrap();

    let mut verify = Command::new("systemd-analyze");
    let verified = ended_with(verify.args(["verify", "--man=no"]).arg(&file)).await;
    let mut security = Command::new("systemd-analyze");
    let exposed =
        ended_with(security.args(["security", "--offline=true", "--threshold=20"]).arg(&file)).await;

    assert_eq!(verified, "");
    assert!(exposed.contains("Overall exposure level"), "{exposed}");
}

/// All that a command says, which must not fail.
async fn ended_with(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// The container's recipe: instructions with what follows them, one a line.
fn recipe() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(word, rest)| (word.to_owned(), rest.to_owned()))
        .collect()
}

fn all<'a>(recipe: &'a [(String, String)], word: &'a str) -> impl Iterator<Item = &'a str> {
    recipe.iter().filter(move |(found, _)| found == word).map(|(_, rest)| rest.as_str())
}

/// The words of an instruction that has them as JSON, behind what stands before them.
fn json_words(rest: &str) -> Vec<String> {
    serde_json::from_str(&rest[rest.find('[').unwrap()..]).unwrap()
}

/// What the build takes from the repository.
fn sources(recipe: &[(String, String)]) -> Vec<String> {
    let own = all(recipe, "COPY").filter(|rest| !rest.starts_with("--from="));
    own.flat_map(|rest| {
        let words: Vec<&str> = rest.split_whitespace().collect();
        words[..words.len() - 1].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_container_is_built_from_what_is_there_and_lets_through() {
    let ignore = read(".dockerignore");
    let lets_through: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut sources = sources(&recipe());
    for source in &sources {
        assert!(root().join(source).exists(), "{source} is not there");
    }
    sources.sort();
    assert_eq!(lets_through, sources, ".dockerignore lets through what is copied, in the order of its name");
}

#[tokio::test]
async fn cargo_finds_every_crate_in_what_the_container_copies() {
    let context = tempfile::tempdir().unwrap();
    for source in sources(&recipe()) {
        std::os::unix::fs::symlink(
            root().canonicalize().unwrap().join(&source),
            context.path().join(&source),
        )
        .unwrap();
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]);
    let found = ended_with(cargo.arg(context.path().join("Cargo.toml"))).await;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let names: Vec<&str> = found["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"hookline") && names.contains(&"webhooks_sms"), "{names:?}");
}

#[test]
fn what_is_compiled_into_the_program_is_in_what_the_container_copies() {
    let sources = sources(&recipe());
    let mut included = 0;
    let mut open = vec![root().join("host"), root().join("plugin-api"), root().join("plugins")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().unwrap().to_string_lossy().contains("test");
            if path.is_dir() && !is_test {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test {
                let text = std::fs::read_to_string(&path).unwrap();
                let paths = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                for file in paths.map(|file| path.parent().unwrap().join(file).canonicalize().unwrap()) {
                    let own = file.strip_prefix(root().canonicalize().unwrap()).unwrap();
                    let first = own.iter().next().unwrap().to_string_lossy().into_owned();
                    assert!(sources.contains(&first), "{} needs {first}", path.display());
                    included += 1;
                }
            }
        }
    }
    assert!(included > 5, "the sources were not looked through");
}

#[test]
fn the_container_takes_over_what_the_build_makes() {
    let build = read("scripts/build");
    let recipe = recipe();
    let taken: Vec<&str> =
        all(&recipe, "COPY").filter_map(|rest| rest.strip_prefix("--from=build ")).collect();

    assert_eq!(
        taken,
        [
            "/src/target/release/hookline /usr/local/bin/hookline",
            "/src/plugins/*.so /usr/local/lib/hookline/plugins/",
        ]
    );
    assert!(
        build.contains("The program lands in target/release/hookline, the modules as plugins/lib<id>.so.")
    );
    let users: Vec<&str> = all(&recipe, "USER").collect();
    assert_eq!(users, ["hookline"], "it does not run as root");
}

#[tokio::test]
async fn the_container_runs_a_host_and_knows_its_health() {
    let recipe = recipe();
    let home = Home::new("", &["webhooks_misbehaving"]);
    let variables: BTreeMap<&str, &str> = all(&recipe, "ENV")
        .flat_map(str::split_whitespace)
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    let folders = [("HOOKLINE_DATA_DIR", home.path("data")), ("HOOKLINE_PLUGINS_DIR", home.path("plugins"))];
    let entry = json_words(all(&recipe, "ENTRYPOINT").next().unwrap());
    let mut health = json_words(all(&recipe, "HEALTHCHECK").next().unwrap());
    assert_eq!(
        (entry.as_slice(), health.remove(0)),
        (["hookline".to_owned()].as_slice(), "hookline".to_owned())
    );
    // The port that the health is asked at by default is the one that is listened on.
    assert_eq!(variables["HOOKLINE_API__LISTEN"], "0.0.0.0:8000");
    assert_eq!(variables.len(), 3, "each one is tried here: {variables:?}");

    // `CMD` alone: the one of the health stands behind another word.
    let mut start = run(&json_words(all(&recipe, "CMD").next().unwrap()));
    for (name, folder) in folders {
        assert!(variables.contains_key(name));
        start.env(name, folder);
    }
    start.env("HOOKLINE_API__LISTEN", "127.0.0.1:0");
    let host = home.start_as(start).await;
    let url = host.url().to_owned();
    let ask = || {
        let mut command = run(&health);
        command.env("HOOKLINE_URL", &url);
        ended(command)
    };
    let alive = ask().await;
    drop(host.killed().await);
    let gone = ask().await;

    assert_eq!(alive.success(), "alive\n");
    assert!(gone.one_line_failure().starts_with("hookline: cannot reach the host at "));
}
