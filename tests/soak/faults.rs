//! What is done to the module's file: replaced in all the ways people have, and by all that is no module.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use rand::RngExt as _;
use tests::cdylib;
use tokio::time::Instant;

use crate::host::Host;

/// Replacements by whole files and by others, counted.
pub(crate) struct Faults<'h> {
    host: &'h Host,
    versions: [Vec<u8>; 2],
    bad: Vec<Vec<u8>>,
    without: bool,
    next: usize,
    counts: [u64; WAYS.len()],
}

/// The ways, by name.
const WAYS: [&str; 6] = [
    "renamed into place",
    "written over in place",
    "written slowly",
    "linked",
    "a bad file before",
    "a cut one before",
];

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = WAYS.iter().zip(self.counts).map(|(way, count)| format!("{way} {count}"));
        f.write_str(&counted.collect::<Vec<_>>().join(", "))
    }
}

impl<'h> Faults<'h> {
    pub(crate) fn new(host: &'h Host, without: bool) -> Self {
        let read = |name: &str| std::fs::read(cdylib(name)).unwrap_or_default();
        let bad = vec![
            b"just text\n".to_vec(),
            Vec::new(),
            read("no_module"),
            read("webhooks_constructor_aborts"),
            read("webhooks_init_panics"),
        ];
        Faults {
            host,
            versions: [tests::versioned(1), tests::versioned(2)],
            bad,
            without,
            next: 1,
            counts: [0; WAYS.len()],
        }
    }

    /// Replaces the module this often, or as often as fits into the time; says how often.
    pub(crate) async fn replace(&mut self, replacements: u64, within: Duration) -> anyhow::Result<u64> {
        let until = Instant::now() + within;
        let mut generation = self.generation().await?;
        for replaced in 0..replacements {
            if Instant::now() >= until {
                return Ok(replaced);
            }
            self.once().await?;
            let before = generation;
            let patience = Instant::now() + Duration::from_secs(30);
            while generation == before {
                generation = self.generation().await?;
                if Instant::now() > patience {
                    bail!(
                        "generation {before} was never replaced: {}",
                        self.host.ask("GET", "/modules", None).await?.1
                    );
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(replacements)
    }

    async fn generation(&self) -> anyhow::Result<u64> {
        Ok(self.host.module().await?["generation"].as_u64().unwrap_or_default())
    }

    async fn once(&mut self) -> anyhow::Result<()> {
        let version = self.versions[self.next % 2].clone();
        self.next += 1;
        let way = if self.without { 0 } else { rand::rng().random_range(0..WAYS.len()) };
        self.counts[way] += 1;
        match way {
            1 => std::fs::write(self.host.file(), &version)?,
            2 => {
                let mut file = std::fs::File::create(self.host.file())?;
                for part in version.chunks(version.len() / 5 + 1) {
                    file.write_all(part)?;
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
            }
            3 => {
                let built = self.host.file().with_file_name(".built");
                std::fs::write(&built, &version)?;
                std::fs::remove_file(self.host.file())?;
                std::fs::hard_link(&built, self.host.file())?;
                std::fs::remove_file(&built)?;
            }
            4 | 5 => {
                let bad = match way {
                    4 => self.bad[rand::rng().random_range(0..self.bad.len())].clone(),
                    _ => version[..version.len() * rand::rng().random_range(1..10) / 10].to_vec(),
                };
                self.host.install(&bad)?;
                self.refused().await?;
                self.host.install(&version)?;
            }
            _ => self.host.install(&version)?,
        }
        Ok(())
    }

    async fn refused(&self) -> anyhow::Result<()> {
        let patience = Instant::now() + Duration::from_secs(30);
        while self.host.ask("GET", "/modules", None).await?.1["refused"] == serde_json::json!([]) {
            if Instant::now() > patience {
                bail!("a bad file was never refused");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
