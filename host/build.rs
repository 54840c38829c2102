//! Which files of the repository are compiled into the program, for `hookline new`: the template of a module and
//! the plugin-api that goes with it. They are taken as they stand, so that no copy can fall behind. Which files of a
//! reader for the API's description are in the program, packed. And how the
//! executable comes to stand before two functions of the C library; why, says `src/module/tls_keys.rs`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

#[path = "build/archive.rs"]
mod archive;

/// What a module is made from; folders stand for all that is in them.
const SKEL: [&str; 5] = [".gitignore", "Cargo.toml", "README.md", "src", "tests"];

/// What makes up plugin-api.
const PLUGIN_API: [&str; 4] = ["Cargo.toml", "README.md", "build.rs", "src"];

/// What `GET /docs` needs of the reader, and what it is sent as.
const READER: [(&str, &str); 3] = [
    ("swagger-ui.css", "text/css"),
    ("swagger-ui-bundle.js", "text/javascript"),
    ("favicon-32x32.png", "image/png"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    export_thread_functions();
    embed_reader()?;
    embed_sources()
}

fn export_thread_functions() {
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    let glibc = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|library| library == "gnu");
    if linux && glibc {
        for function in ["pthread_key_create", "pthread_create"] {
            println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol={function}");
        }
    }
}

/// Writes `reader.rs`, and beside it each of the reader's files as the archive has it.
fn embed_reader() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut code = String::from(
        "/// The reader's files: name, kind, whether it is a deflate stream, bytes.\n\
         const READER: &[(&str, &str, bool, &[u8])] = &[\n",
    );
    for (name, kind) in READER {
        let file =
            archive::packed(SWAGGER_UI_VENDORED, name).ok_or_else(|| format!("no {name} is vendored"))?;
        let packed = out.join(format!("{name}.packed"));
        fs::write(&packed, file.bytes)?;
        writeln!(code, "    ({name:?}, {kind:?}, {}, include_bytes!({packed:?})),", file.is_deflated)?;
    }
    code.push_str("];\n");
    fs::write(out.join("reader.rs"), code)?;
    Ok(())
}

/// Writes `sources.rs`: for each list the files' names, relative to their folder, with their texts.
fn embed_sources() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    let lists = [
        ("SKEL", "The template of a module.", "webhooks_skel", &SKEL[..]),
        ("PLUGIN_API", "The sources of plugin-api.", "plugin-api", &PLUGIN_API[..]),
    ];
    let mut code = String::new();
    for (name, says, folder, entries) in lists {
        let folder = root.join(folder);
        let mut files = Vec::new();
        for entry in entries {
            collect(folder.join(entry), &mut files)?;
        }
        files.sort();
        writeln!(code, "/// {says}\npub(super) const {name}: &[(&str, &str)] = &[")?;
        for file in files {
            let short = file.strip_prefix(&folder)?.to_str().ok_or("a file name is not UTF-8")?;
            writeln!(code, "    ({short:?}, include_str!({file:?})),")?;
        }
        writeln!(code, "];")?;
    }
    fs::write(Path::new(&std::env::var("OUT_DIR")?).join("sources.rs"), code)?;
    Ok(())
}

fn collect(path: PathBuf, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(entry?.path(), files)?;
        }
    } else {
        files.push(path);
    }
    Ok(())
}
