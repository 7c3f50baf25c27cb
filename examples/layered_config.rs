//! Settings in layers: the defaults, a file for all machines, a file for production over it, and the
//! environment over everything. Prints the resulting settings and the source of each.
//!
//! Run with `cargo run --features serde --example layered_config`, or with a setting of your own:
//!
//! ```sh
//! ORDERS_DB_MAX_SIZE=12 ORDERS_DB_BACKOFF_MAX=10s cargo run --features serde --example layered_config
//! ```
//!
//! The example writes its two files itself and uses a backend in memory.

use conpool::{MemoryManager, Pool, PoolBuilder, PoolConfig};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::{self, ExitCode},
    time::Duration,
};

const BASE: &str = r#"
name = "orders"
max_size = 20
min_idle = 2
get_timeout = "2s"
health_check = { after_idle = "1s" }

[backoff]
initial = "100ms"
max = "30s"
"#;

/// Uses the aliases of the settings.
const PRODUCTION: &str = "
maxConnections: 50
maxLifetime: 1h
leakDetectionThreshold: 1 min
backoff:
  max: 1m
";

const PREFIX: &str = "ORDERS_DB_";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new()?;
    let base = folder.file("base.toml", BASE)?;
    let production = folder.file("production.yaml", PRODUCTION)?;

    let mut origins = Origins::default();
    let config = PoolConfig::default();
    origins.note("default", &config)?;
    let config = overlay_toml(config, &base)?;
    origins.note("base.toml", &config)?;
    let config = overlay_yaml(config, &production)?;
    origins.note("production.yaml", &config)?;
    let config = config.with_env(PREFIX)?;
    origins.note("environment", &config)?;

    println!("{:<22}{:<12}from", "setting", "value");
    for (setting, (value, origin)) in &origins.0 {
        let value = value.as_str().map_or(value.to_string(), str::to_owned);
        println!("{setting:<22}{value:<12}{origin}");
    }

    let pool = PoolBuilder::from(config).build(MemoryManager::new())?;
    use_it(&pool)?;
    println!("\n{}", pool.stats());
    pool.close_timeout(Duration::from_secs(5))?;
    Ok(())
}

fn overlay_toml(config: PoolConfig, file: &Path) -> Result<PoolConfig, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    Ok(config.overlay(toml::Deserializer::parse(&text)?)?)
}

fn overlay_yaml(config: PoolConfig, file: &Path) -> Result<PoolConfig, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let over = serde_saphyr::with_deserializer_from_str(&text, |source| config.overlay(source));
    Ok(over?)
}

fn use_it(pool: &Pool<MemoryManager>) -> Result<(), Box<dyn Error>> {
    let mut connection = pool.get()?;
    connection.execute("SET status open")?;
    let status = connection.execute("GET status")?;
    if status == "open" {
        Ok(())
    } else {
        Err(format!("the status is {status:?}").into())
    }
}

/// Each setting's value, and the last layer that changed it.
#[derive(Default)]
struct Origins(BTreeMap<String, (Value, &'static str)>);

impl Origins {
    fn note(&mut self, origin: &'static str, config: &PoolConfig) -> serde_json::Result<()> {
        self.compare("", &serde_json::to_value(config)?, origin);
        Ok(())
    }

    fn compare(&mut self, path: &str, value: &Value, origin: &'static str) {
        if let Value::Object(entries) = value {
            let dot = if path.is_empty() { "" } else { "." };
            for (key, value) in entries {
                self.compare(&format!("{path}{dot}{key}"), value, origin);
            }
            return;
        }
        match self.0.get(path) {
            Some((known, _)) if known == value => {}
            _ => _ = self.0.insert(path.to_owned(), (value.clone(), origin)),
        }
    }
}

/// A temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("layered-config-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}
