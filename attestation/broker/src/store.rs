// SPDX-License-Identifier: Apache-2.0
//! What the owner put in: roots, reference values, resources and who may have them. SQLite, so that
//! the commands and a running broker see each other's changes at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use casemate_kbs_protocol::HOST_DATA_BYTES;
use casemate_kbs_protocol::MAX_RESOURCE_BYTES;
use casemate_kbs_protocol::ResourcePath;
use casemate_kbs_protocol::Secret;
use casemate_verifier::Measurement;
use casemate_verifier::ReferenceValues;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqliteJournalMode;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::sqlite::SqliteSynchronous;

use crate::error::BrokerError;

mod register;
mod root;

use root::AnyRoot;

pub use register::TdRegister;
pub use root::RootChoice;
pub use root::RootName;
pub use root::Roots;

/// The broker's database.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
}

/// Everything in the database except the resources' values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Name and kind of each root.
    pub roots: Vec<(String, String)>,
    /// Launch digests of SNP guests.
    pub references: Vec<String>,
    /// Set and value of each reference for TDs.
    pub tdx_references: Vec<(String, String)>,
    /// Path and size in bytes of each resource.
    pub resources: Vec<(String, i64)>,
    /// Path and initdata digest of each grant.
    pub grants: Vec<(String, String)>,
}

impl Store {
    /// Makes the tables in a new, empty file.
    pub(crate) async fn create(path: &Path) -> Result<Self, BrokerError> {
        let store = Self::connect(path).await?;
        for statement in LAYOUT {
            sqlx::query(statement)
                .execute(&store.pool)
                .await
                .map_err(BrokerError::database("make the tables"))?;
        }
        Ok(store)
    }

    /// Opens the database of a broker's folder.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when there is none or another version wrote it.
    pub async fn open(dir: &Path) -> Result<Self, BrokerError> {
        let path = dir.join(crate::setup::DATABASE_FILE);
        if !path.exists() {
            return Err(BrokerError::NotInitialised { path: dir.to_owned() });
        }
        let store = Self::connect(&path).await?;
        let found: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&store.pool)
            .await
            .map_err(BrokerError::database("read the layout"))?;
        if found != LAYOUT_VERSION {
            return Err(BrokerError::Layout { found, expected: LAYOUT_VERSION });
        }
        // Folders of before there were references for TDs have no table for them.
        sqlx::query(TDX_REFERENCES)
            .execute(&store.pool)
            .await
            .map_err(BrokerError::database("make a table"))?;
        Ok(store)
    }

    async fn connect(path: &Path) -> Result<Self, BrokerError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(BrokerError::database("open a connection"))?;
        Ok(Self { pool })
    }

    /// The configured roots.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when one cannot be used: a broken root is never skipped.
    pub async fn roots(&self) -> Result<Roots, BrokerError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, kind, pem FROM root ORDER BY name")
                .fetch_all(&self.pool)
                .await
                .map_err(BrokerError::database("read the roots"))?;
        let mut roots = Roots::default();
        for (name, kind, pem) in rows {
            let choice = kind
                .parse::<RootChoice>()
                .map_err(|_| BrokerError::Corrupt { what: "kind of root" })?;
            match choice.load(&name, &pem)? {
                AnyRoot::Snp(root) => roots.snp.push(root),
                AnyRoot::Tdx(root) => roots.tdx.push(root),
            }
        }
        Ok(roots)
    }

    /// Adds a root from its PEM bundle and says whose it is.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the bundle is no root of this kind, the name is taken, or simulated and
    /// genuine roots would stand beside each other.
    ///
    /// # Security
    ///
    /// D14: grants name no root, so a simulated root, whose key lies on some host, would open every
    /// one that is meant for genuine hardware.
    pub async fn add_root(
        &self,
        name: &str,
        choice: RootChoice,
        pem: &str,
    ) -> Result<RootName, BrokerError> {
        let root = choice.load(name, pem)?.name();
        let others = "SELECT COUNT(*) FROM root WHERE (kind IN (?, ?)) != ?";
        let others: i64 = sqlx::query_scalar(others)
            .bind(RootChoice::Simulated.as_str())
            .bind(RootChoice::SimulatedTdx.as_str())
            .bind(choice.is_simulated())
            .fetch_one(&self.pool)
            .await
            .map_err(BrokerError::database("read the roots"))?;
        if others > 0 {
            return Err(BrokerError::Name {
                what: "root",
                name: name.to_owned(),
                problem: "cannot be added: simulated and genuine roots need a broker each",
            });
        }
        let added = sqlx::query("INSERT OR IGNORE INTO root (name, kind, pem) VALUES (?, ?, ?)")
            .bind(name)
            .bind(choice.as_str())
            .bind(pem)
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("add a root"))?;
        if added.rows_affected() == 0 {
            return Err(exists("root", name));
        }
        Ok(root)
    }

    /// Removes a root.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when there is none of this name.
    pub async fn remove_root(&self, name: &str) -> Result<(), BrokerError> {
        let removed = sqlx::query("DELETE FROM root WHERE name = ?")
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("remove a root"))?;
        require(removed.rows_affected(), "root", name)
    }

    /// The reference values of SNP guests: launch digests.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be read.
    pub async fn references(&self) -> Result<BTreeSet<Measurement>, BrokerError> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT measurement FROM reference")
            .fetch_all(&self.pool)
            .await
            .map_err(BrokerError::database("read the reference values"))?;
        rows.iter()
            .map(|row| row.parse().map_err(|_| BrokerError::Corrupt { what: "reference value" }))
            .collect()
    }

    /// Adds a reference value; adding it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be written.
    pub async fn add_reference(&self, measurement: Measurement) -> Result<(), BrokerError> {
        sqlx::query("INSERT OR IGNORE INTO reference (measurement) VALUES (?)")
            .bind(measurement.to_string())
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("add a reference value"))?;
        Ok(())
    }

    /// Removes a reference value.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when it is none.
    pub async fn remove_reference(&self, measurement: Measurement) -> Result<(), BrokerError> {
        let removed = sqlx::query("DELETE FROM reference WHERE measurement = ?")
            .bind(measurement.to_string())
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("remove a reference value"))?;
        require(removed.rows_affected(), "reference value", &measurement.to_string())
    }

    /// The reference values of TDs by the name of their set, as rules refer to them: `tdx_mrtd` and
    /// `tdx_rtmr0` to `tdx_rtmr3`, each possibly empty.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be read.
    pub async fn tdx_references(&self) -> Result<ReferenceValues, BrokerError> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT name, value FROM tdx_reference")
            .fetch_all(&self.pool)
            .await
            .map_err(BrokerError::database("read the reference values"))?;
        let none = TdRegister::ALL.map(|register| (register.set().to_owned(), BTreeSet::new()));
        let mut references = ReferenceValues::from(none);
        for (name, value) in rows {
            let corrupt = || BrokerError::Corrupt { what: "reference value" };
            let value = value.parse().map_err(|_| corrupt())?;
            references.get_mut(&name).ok_or_else(corrupt)?.insert(value);
        }
        Ok(references)
    }

    /// Adds a reference value of TDs; adding it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be written.
    pub async fn add_tdx_reference(
        &self,
        register: TdRegister,
        value: Measurement,
    ) -> Result<(), BrokerError> {
        sqlx::query("INSERT OR IGNORE INTO tdx_reference (name, value) VALUES (?, ?)")
            .bind(register.set())
            .bind(value.to_string())
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("add a reference value"))?;
        Ok(())
    }

    /// Removes a reference value of TDs.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when it is none.
    pub async fn remove_tdx_reference(
        &self,
        register: TdRegister,
        value: Measurement,
    ) -> Result<(), BrokerError> {
        let removed = sqlx::query("DELETE FROM tdx_reference WHERE name = ? AND value = ?")
            .bind(register.set())
            .bind(value.to_string())
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("remove a reference value"))?;
        require(removed.rows_affected(), "reference value", &value.to_string())
    }

    /// Stores a resource, in place of an older value. Nobody may have it until it is allowed.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when it is empty or over the protocol's cap.
    ///
    /// # Security
    ///
    /// The value stands unencrypted in the broker's folder.
    pub async fn put_resource(
        &self,
        path: &ResourcePath,
        value: &Secret,
    ) -> Result<(), BrokerError> {
        let actual = value.expose().len();
        if actual == 0 || actual > MAX_RESOURCE_BYTES {
            return Err(BrokerError::ResourceSize { actual });
        }
        sqlx::query("INSERT OR REPLACE INTO resource (path, value) VALUES (?, ?)")
            .bind(path.to_string())
            .bind(value.expose())
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("store a resource"))?;
        Ok(())
    }

    /// A resource's value, `None` when there is none of this name.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be read.
    pub async fn resource(&self, path: &ResourcePath) -> Result<Option<Secret>, BrokerError> {
        let value: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT value FROM resource WHERE path = ?")
                .bind(path.to_string())
                .fetch_optional(&self.pool)
                .await
                .map_err(BrokerError::database("read a resource"))?;
        Ok(value.map(Secret::from))
    }

    /// Removes a resource and every grant of it.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when there is none of this name.
    pub async fn remove_resource(&self, path: &ResourcePath) -> Result<(), BrokerError> {
        let path = path.to_string();
        let removed = sqlx::query("DELETE FROM resource WHERE path = ?")
            .bind(&path)
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("remove a resource"))?;
        sqlx::query("DELETE FROM access WHERE path = ?")
            .bind(&path)
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("remove the grants of a resource"))?;
        require(removed.rows_affected(), "resource", &path)
    }

    /// Allows a resource, which need not exist yet, to guests with this initdata.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be written.
    pub async fn allow(
        &self,
        path: &ResourcePath,
        initdata: &[u8; HOST_DATA_BYTES],
    ) -> Result<(), BrokerError> {
        sqlx::query("INSERT OR IGNORE INTO access (path, initdata) VALUES (?, ?)")
            .bind(path.to_string())
            .bind(hex::encode(initdata))
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("allow a resource"))?;
        Ok(())
    }

    /// Takes a grant back.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when there is none.
    pub async fn deny(
        &self,
        path: &ResourcePath,
        initdata: &[u8; HOST_DATA_BYTES],
    ) -> Result<(), BrokerError> {
        let removed = sqlx::query("DELETE FROM access WHERE path = ? AND initdata = ?")
            .bind(path.to_string())
            .bind(hex::encode(initdata))
            .execute(&self.pool)
            .await
            .map_err(BrokerError::database("deny a resource"))?;
        require(removed.rows_affected(), "grant of", &path.to_string())
    }

    /// Whether guests with this initdata may have the resource.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be read.
    pub async fn is_allowed(
        &self,
        path: &ResourcePath,
        initdata: &[u8; HOST_DATA_BYTES],
    ) -> Result<bool, BrokerError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM access WHERE path = ? AND initdata = ?")
                .bind(path.to_string())
                .bind(hex::encode(initdata))
                .fetch_optional(&self.pool)
                .await
                .map_err(BrokerError::database("read the grants"))?;
        Ok(found.is_some())
    }

    /// Everything but the values.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the database cannot be read.
    pub async fn list(&self) -> Result<Listing, BrokerError> {
        let failed = || BrokerError::database("list the contents");
        Ok(Listing {
            roots: sqlx::query_as("SELECT name, kind FROM root ORDER BY name")
                .fetch_all(&self.pool)
                .await
                .map_err(failed())?,
            references: sqlx::query_scalar("SELECT measurement FROM reference ORDER BY 1")
                .fetch_all(&self.pool)
                .await
                .map_err(failed())?,
            tdx_references: sqlx::query_as("SELECT name, value FROM tdx_reference ORDER BY 1, 2")
                .fetch_all(&self.pool)
                .await
                .map_err(failed())?,
            resources: sqlx::query_as("SELECT path, length(value) FROM resource ORDER BY path")
                .fetch_all(&self.pool)
                .await
                .map_err(failed())?,
            grants: sqlx::query_as("SELECT path, initdata FROM access ORDER BY path, initdata")
                .fetch_all(&self.pool)
                .await
                .map_err(failed())?,
        })
    }

    /// Closes every connection.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

fn exists(what: &'static str, name: &str) -> BrokerError {
    BrokerError::Name { what, name: name.to_owned(), problem: "exists already" }
}

fn require(rows: u64, what: &'static str, name: &str) -> Result<(), BrokerError> {
    if rows > 0 {
        return Ok(());
    }
    Err(BrokerError::Name { what, name: name.to_owned(), problem: "does not exist" })
}

const LAYOUT_VERSION: i64 = 1;

const LAYOUT: [&str; 6] = [
    "CREATE TABLE root (name TEXT PRIMARY KEY, kind TEXT NOT NULL, pem TEXT NOT NULL) STRICT",
    "CREATE TABLE reference (measurement TEXT PRIMARY KEY) STRICT",
    TDX_REFERENCES,
    "CREATE TABLE resource (path TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    "CREATE TABLE access (path TEXT NOT NULL, initdata TEXT NOT NULL, PRIMARY KEY (path, initdata)) STRICT",
    "PRAGMA user_version = 1",
];

const TDX_REFERENCES: &str = "CREATE TABLE IF NOT EXISTS tdx_reference \
     (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name, value)) STRICT";

/// How long a statement waits for a command that writes at the same time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const MAX_CONNECTIONS: u32 = 4;
