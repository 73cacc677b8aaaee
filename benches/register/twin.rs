//! The same persons and the same questions in PostgreSQL: names in a table of their own, B-tree indexes for what is
//! asked for exactly and by sound, `pg_trgm` for placeholders. Each question writes a line durably, as the register
//! writes its log; nothing is judged, sealed or chained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amtsbote::register::criteria::NameSet;
use amtsbote::register::matching::name::Form;
use amtsbote::register::matching::phonetic::PhoneticCode;
use amtsbote::register::person::{Ags, Person};
use amtsbote::register::synth::person;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient, NoTls, Statement};

use crate::postgres_cluster::Cluster;
use crate::{Kind, Question, SEED};

const CHUNK: u64 = 2000;
const WHOLE: i16 = 1;
const PART: i16 = 2;
const GIVEN: i16 = 3;

const TABLES: &str = "
    CREATE TABLE person (id bigint NOT NULL, ags text NOT NULL, born text[] NOT NULL, sex text, record bytea NOT NULL);
    CREATE TABLE name (person bigint NOT NULL, ags text NOT NULL, kind smallint NOT NULL, form text NOT NULL,
        sound text NOT NULL);
    CREATE TABLE line (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, content bytea NOT NULL);";
const INDEXES: &str = "
    ALTER TABLE person ADD PRIMARY KEY (id);
    CREATE INDEX name_form ON name (ags, kind, form);
    CREATE INDEX name_form_anywhere ON name (kind, form);
    CREATE INDEX name_sound ON name (ags, kind, sound);
    CREATE INDEX name_person ON name (person, kind);
    CREATE INDEX name_trigram ON name USING gin (form gin_trgm_ops);
    ANALYZE;";

/// The given name is looked up by person: whoever bears the family name is few.
fn select(kind: Kind) -> String {
    let by = if kind == Kind::Sound { "sound" } else { "form" };
    let (area, set, matches) = match kind {
        Kind::Placeholder => ("f.ags = $1", PART, "f.form LIKE $2".to_owned()),
        Kind::State => ("$1 <> ''", PART, "f.form = $2".to_owned()),
        _ => ("f.ags = $1", WHOLE, format!("f.{by} = $2")),
    };
    let born = if kind == Kind::Placeholder { "$4 = ''" } else { "$4 = ANY (p.born)" };
    format!(
        "SELECT DISTINCT ON (p.id) p.record FROM name f JOIN person p ON p.id = f.person
         WHERE {area} AND f.kind = {set} AND {matches} AND p.sex = $5 AND {born}
         AND EXISTS (SELECT 1 FROM name g WHERE g.person = p.id AND g.kind = {GIVEN} AND g.{by} = $3) LIMIT 1001"
    )
}

pub struct Twin<'a> {
    cluster: &'a Cluster,
    runtime: tokio::runtime::Runtime,
}

/// A session with the questions prepared.
struct Session {
    client: Client,
    selects: Vec<(Kind, Statement)>,
    line: Statement,
}

impl<'a> Twin<'a> {
    pub fn new(cluster: &'a Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        cluster.database("register");
        cluster.sql("register", "CREATE EXTENSION pg_trgm");
        cluster
            .sql("register", &format!("GRANT CREATE ON SCHEMA public TO {}", crate::postgres_cluster::OWNER));
        Self { cluster, runtime }
    }

    /// Loads everybody, with all indexes; how long it took.
    pub fn load(&self, towns: &[(Ags, u64)]) -> Duration {
        let began = Instant::now();
        self.runtime.block_on(async {
            let client = self.client().await;
            client.batch_execute(TABLES).await.expect("tables");
            let mut first_id = 0;
            for (ags, count) in towns {
                let mut first = 0;
                while first < *count {
                    let last = (first + CHUNK).min(*count);
                    let persons: Vec<Person> =
                        (first..last).map(|number| person(SEED, *ags, number)).collect();
                    insert(&client, *ags, first_id + first as i64, &persons).await;
                    first = last;
                }
                first_id += *count as i64;
            }
            client.batch_execute(INDEXES).await.expect("indexes");
        });
        began.elapsed()
    }

    async fn client(&self) -> Client {
        connected(self.cluster.connection("register")).await
    }

    /// How long each question took, one after the other, and how many hits there were.
    pub fn ask_all(&self, questions: &[Question]) -> (Vec<Duration>, usize) {
        self.runtime.block_on(async {
            let session = Session::open(self.client().await).await;
            let (mut times, mut hits) = (Vec::new(), 0);
            for question in questions {
                let began = Instant::now();
                hits += session.ask(question).await;
                times.push(began.elapsed());
            }
            (times, hits)
        })
    }

    /// `rate` questions a second from several sessions, beside a feed that changes one person after the other as fast
    /// as it goes: how long each took from the instant it was due, and changes a second.
    pub fn beside_feed(
        &self,
        questions: &[Question],
        (ags, count): (Ags, u64),
        askers: u64,
        rate: u64,
        first_id: i64,
    ) -> (Vec<Duration>, f64) {
        self.runtime.block_on(async {
            let done = Arc::new(AtomicBool::new(false));
            let feed = tokio::spawn(feed(self.client().await, done.clone(), ags, count, first_id));
            let (begun, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
            let questions: Arc<Vec<Question>> = Arc::new(questions.to_vec());
            let mut asking = Vec::new();
            for _ in 0..askers {
                let session = Session::open(self.client().await).await;
                let (next, questions) = (next.clone(), questions.clone());
                asking.push(tokio::spawn(async move {
                    let mut times = Vec::new();
                    loop {
                        let ticket = next.fetch_add(1, Ordering::Relaxed);
                        let Some(question) = questions.get(ticket as usize) else { return times };
                        let due = begun + Duration::from_secs(ticket) / rate as u32;
                        tokio::time::sleep_until(due.into()).await;
                        session.ask(question).await;
                        times.push(due.elapsed());
                    }
                }));
            }
            let mut times = Vec::new();
            for one in asking {
                times.extend(one.await.expect("asked"));
            }
            let span = begun.elapsed();
            done.store(true, Ordering::Relaxed);
            let changes = feed.await.expect("fed");
            (times, changes as f64 / span.as_secs_f64())
        })
    }
}

async fn connected(connection: String) -> Client {
    let (client, task) = tokio_postgres::connect(&connection, NoTls).await.expect("a session");
    tokio::spawn(task);
    client
}

async fn insert(client: &impl GenericClient, ags: Ags, first_id: i64, persons: &[Person]) {
    let ags = ags.to_string();
    let ids: Vec<i64> = (first_id..).take(persons.len()).collect();
    // Several dates of one person stand in one text, for want of arrays of arrays.
    let born: Vec<String> = persons.iter().map(born_of).collect();
    let sex: Vec<Option<String>> = persons.iter().map(sex_of).collect();
    let records: Vec<Vec<u8>> = persons.iter().map(Person::to_bytes).collect();
    let sql = "INSERT INTO person SELECT n.id, $1, string_to_array(n.born, ' '), n.sex, n.record
        FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bytea[]) AS n (id, born, sex, record)";
    client.execute(sql, &[&ags, &ids, &born, &sex, &records]).await.expect("persons");
    let mut names: (Vec<i64>, Vec<i16>, Vec<String>, Vec<String>) = Default::default();
    for (id, one) in ids.iter().zip(persons) {
        for (kind, form) in forms(one) {
            names.0.push(*id);
            names.1.push(kind);
            names.3.push(PhoneticCode::of(&form).as_str().to_owned());
            names.2.push(form.as_str().to_owned());
        }
    }
    let sql = "INSERT INTO name SELECT n.person, $1, n.kind, n.form, n.sound
        FROM unnest($2::bigint[], $3::smallint[], $4::text[], $5::text[]) AS n (person, kind, form, sound)";
    client.execute(sql, &[&ags, &names.0, &names.1, &names.2, &names.3]).await.expect("names");
}

fn born_of(one: &Person) -> String {
    one.birth_dates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

pub fn sex_of(one: &Person) -> Option<String> {
    one.sex.map(|sex| format!("{sex:?}"))
}

fn forms(one: &Person) -> Vec<(i16, Form)> {
    let sets = [(WHOLE, NameSet::FamilyWhole), (PART, NameSet::FamilyPart), (GIVEN, NameSet::GivenPart)];
    sets.into_iter()
        .flat_map(|(kind, set)| set.forms(one).into_iter().map(move |form| (kind, form)))
        .collect()
}

impl Session {
    async fn open(client: Client) -> Self {
        let mut selects = Vec::new();
        for kind in Kind::ALL {
            selects.push((kind, client.prepare(&select(kind)).await.expect("a question")));
        }
        let line = client.prepare("INSERT INTO line (content) VALUES ($1)").await.expect("a line");
        Self { client, selects, line }
    }

    async fn ask(&self, question: &Question) -> usize {
        let Some((_, select)) = self.selects.iter().find(|(kind, _)| *kind == question.kind) else {
            return 0;
        };
        let text = |text: &str| Form::of(text).map(|form| form.as_str().to_owned()).unwrap_or_default();
        let sound = |text: &str| {
            Form::of(text).map(|form| PhoneticCode::of(&form).as_str().to_owned()).unwrap_or_default()
        };
        let (family, given) = match question.kind {
            Kind::Sound => (sound(&question.family), sound(&question.given)),
            Kind::Placeholder => (format!("{}%", text(&question.family)), text(&question.given)),
            _ => (text(&question.family), text(&question.given)),
        };
        let (ags, born) = (question.ags.to_string(), question.born.clone());
        let born = if question.kind == Kind::Placeholder { String::new() } else { born };
        let values: [&(dyn ToSql + Sync); 5] = [&ags, &family, &given, &born, &question.sex];
        let found = self.client.query(select, &values).await.expect("an answer");
        let line = found.first().map_or_else(Vec::new, |row| row.get::<_, Vec<u8>>(0));
        let line = &line[..line.len().min(300)];
        self.client.execute(&self.line, &[&line]).await.expect("a line");
        found.len()
    }
}

/// Replaces the record and the names of one person after the other, each durably.
async fn feed(mut client: Client, done: Arc<AtomicBool>, ags: Ags, count: u64, first_id: i64) -> u64 {
    let mut changes = 0;
    while !done.load(Ordering::Relaxed) {
        let number = changes % count;
        let one = crate::moved(ags, number, changes);
        let id = first_id + number as i64;
        let work = client.transaction().await.expect("begun");
        work.execute("DELETE FROM name WHERE person = $1", &[&id]).await.expect("names");
        work.execute("DELETE FROM person WHERE id = $1", &[&id]).await.expect("a person");
        insert(&work, ags, id, &[one]).await;
        work.commit().await.expect("done");
        changes += 1;
    }
    changes
}
