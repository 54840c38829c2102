//! The Debian packages, installed into an empty root: what lies where, whose it is, and whether it works from there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::hookline;

const CONFIGURATION: &str = "etc/hookline/hookline.toml";

/// The packages of the programs that these tests run, and a system that has them and nothing else.
struct EmptySystem {
    folder: tempfile::TempDir,
    packages: Vec<PathBuf>,
}

impl EmptySystem {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/package");
        let target = hookline().parent().unwrap().parent().unwrap().to_owned();
        let mut package = Command::new(script);
        package
            .arg(folder.path().join("packages"))
            .env("PACKAGE_BUILD", "debug")
            .env("CARGO_TARGET_DIR", target);
        let packages = said(&mut package).lines().map(PathBuf::from).collect();
        for needed in ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/etc", "root/run"] {
            std::fs::create_dir_all(folder.path().join(needed)).unwrap();
        }
        std::fs::write(folder.path().join("root/var/lib/dpkg/status"), "").unwrap();
        EmptySystem { folder, packages }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// What dpkg says, which takes the packages' dependencies for granted and runs their scripts from here.
    fn dpkg(&self, words: &[&str]) -> String {
        let mut dpkg = Command::new("fakeroot");
        dpkg.args(["--", "dpkg", "--force-depends", "--force-script-chrootless", "--force-bad-path"]);
        dpkg.arg(format!("--root={}", self.path("").display())).args(words);
        said(&mut dpkg)
    }

    fn install(&self) {
        let packages: Vec<&str> = self.packages.iter().map(|file| file.to_str().unwrap()).collect();
        self.dpkg(&[&["--install"], packages.as_slice()].concat());
    }

    /// The installed program with these words, and none of this machine's settings.
    fn hookline(&self, words: &[&str]) -> String {
        said(Command::new(self.path("usr/bin/hookline")).args(words).env_clear())
    }

    fn files(&self, package: &str) -> Vec<String> {
        let list = std::fs::read_to_string(self.path(&format!("var/lib/dpkg/info/{package}.list"))).unwrap();
        let files = list.lines().filter(|line| self.path(&line[1..]).is_file());
        files.map(|line| line[1..].to_owned()).collect()
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }
}

/// What a command says on standard output. It must not fail.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}

/// One test for all, as packing unoptimised programs takes a while.
#[test]
fn the_packages_install_into_an_empty_root_and_work_from_there() {
    let system = EmptySystem::new();
    assert_eq!(system.packages.len(), 2);

    system.install();

    the_program_and_its_modules_work(&system);
    every_file_is_the_systems_own(&system);
    the_unit_starts_what_is_installed(&system);
    shells_and_manual_know_the_program(&system);
    lines_are_found_by_the_builds_id(&system);
    an_upgrade_keeps_settings_and_a_purge_leaves_nothing(&system);
}

fn the_program_and_its_modules_work(system: &EmptySystem) {
    let version = system.hookline(&["--version"]);
    let status = system.dpkg(&["--status", "hookline"]);
    let packaged = status.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap();
    assert!(version.starts_with(&format!("hookline {packaged}")), "{version}");

    let modules: Vec<String> =
        system.files("hookline").into_iter().filter(|file| file.ends_with(".so")).collect();
    assert_eq!(modules.len(), 9, "{modules:?}");
    let paths: Vec<PathBuf> = modules.iter().map(|file| system.path(file)).collect();
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let checked = system.hookline(&[&["check"], paths.as_slice()].concat());
    assert!(checked.contains("webhooks_channel_create"), "{checked}");

    let configuration = system.path(CONFIGURATION);
    let settings = system.hookline(&["config", "--config", configuration.to_str().unwrap()]);
    assert!(settings.contains("data_dir = "), "{settings}");
}

fn every_file_is_the_systems_own(system: &EmptySystem) {
    for file in [system.files("hookline"), system.files("hookline-dbg")].concat() {
        let mode = system.path(&file).metadata().unwrap().permissions().mode() & 0o7777;
        let expected = if file == "usr/bin/hookline" { 0o755 } else { 0o644 };
        assert_eq!(mode, expected, "{file} has mode {mode:o}");
    }
    for package in &system.packages {
        let listed = said(Command::new("dpkg-deb").arg("--contents").arg(package));
        assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    }
    let settings = system.dpkg(&["--status", "hookline"]);
    assert!(settings.contains(&format!("Conffiles:\n /{CONFIGURATION} ")), "{settings}");
    assert!(system.read("usr/share/doc/hookline/copyright").contains("License: Expat or Apache-2.0"));
    assert!(system.read("etc/passwd").starts_with("hookline:"), "the service has a user");
}

fn the_unit_starts_what_is_installed(system: &EmptySystem) {
    let unit = system.read("usr/lib/systemd/system/hookline.service");
    let words: Vec<&str> = unit.lines().filter(|line| line.starts_with("Exec")).collect();
    assert_eq!(words.len(), 2, "{unit}");
    for word in words.iter().flat_map(|line| line.split([' ', '='])).filter(|word| word.starts_with('/')) {
        // The data folder is made when the service starts.
        assert!(word == "/var/lib/hookline" || system.path(&word[1..]).exists(), "{word} is not installed");
    }
    assert!(unit.contains("\nUser=hookline\n") && !unit.contains("DynamicUser=yes"), "{unit}");
    assert!(!unit.contains("/usr/local/"), "{unit}");

    let file = system.folder.path().join("hookline.service");
    let program = system.path("usr/bin/hookline").display().to_string();
    std::fs::write(&file, unit.replace("/usr/bin/hookline", &program)).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let verified = verify.args(["verify", "--man=no"]).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    let mut security = Command::new("systemd-analyze");
    said(security.args(["security", "--offline=true", "--threshold=20"]).arg(&file));
}

fn shells_and_manual_know_the_program(system: &EmptySystem) {
    for (shell, file) in [
        ("bash", "usr/share/bash-completion/completions/hookline"),
        ("zsh", "usr/share/zsh/vendor-completions/_hookline"),
        ("fish", "usr/share/fish/vendor_completions.d/hookline.fish"),
    ] {
        said(Command::new(shell).arg("-n").arg(system.path(file)));
    }
    let file = system.path("usr/share/bash-completion/completions/hookline");
    let loads = "source \"$1\" && complete -p hookline";
    let loaded = said(Command::new("bash").args(["-c", loads, "bash"]).arg(file));
    assert!(loaded.contains("_hookline"), "{loaded}");

    let pages: Vec<String> =
        system.files("hookline").into_iter().filter(|file| file.contains("/man/man1/")).collect();
    assert!(pages.contains(&"usr/share/man/man1/hookline.1.gz".to_owned()), "{pages:?}");
    let page = said(Command::new("gzip").arg("-dc").arg(system.path("usr/share/man/man1/hookline.1.gz")));
    assert!(page.contains(".TH hookline 1"), "{page}");
}

fn lines_are_found_by_the_builds_id(system: &EmptySystem) {
    let binaries: Vec<String> = system.files("hookline");
    let binaries = binaries.iter().filter(|file| file.ends_with(".so") || file.starts_with("usr/bin/"));
    for binary in binaries {
        let notes = said(Command::new("readelf").arg("--notes").arg(system.path(binary)));
        let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap();
        let lines = system.path(&format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]));
        let of = |file: &Path| said(Command::new("readelf").args(["--sections", "--wide"]).arg(file));
        assert!(of(&lines).contains(" .debug_line "), "{}", lines.display());
        let left = of(&system.path(binary));
        assert!(left.contains(" .symtab ") && !left.contains(" .debug_line "), "{binary}: {left}");
    }
}

fn an_upgrade_keeps_settings_and_a_purge_leaves_nothing(system: &EmptySystem) {
    let own = "[api]\nlisten = \"127.0.0.1:8001\"\n";
    std::fs::write(system.path(CONFIGURATION), own).unwrap();
    let data = system.path("var/lib/hookline");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("hookline.db"), "").unwrap();

    system.install();
    assert_eq!(system.read(CONFIGURATION), own);

    system.dpkg(&["--remove", "hookline-dbg", "hookline"]);
    assert!(data.join("hookline.db").exists() && system.path(CONFIGURATION).exists());
    assert!(!system.path("usr/bin/hookline").exists());

    system.dpkg(&["--purge", "hookline"]);
    assert!(!data.exists() && !system.path("etc/hookline").exists());
}
