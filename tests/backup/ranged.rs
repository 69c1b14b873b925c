//! What it costs to fetch one small file out of a large snapshot, and how objects are read in ranges.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use ows::backup::catalog::Catalog;
use ows::backup::entry::{AskedPath, Digest, Place};
use ows::backup::gzip::ParallelGzip;
use ows::backup::index::IndexWriter;
use ows::backup::manifest::{FORMAT, Manifest, StoredObject, Totals, Volume};
use ows::backup::name::Part;
use ows::backup::ranged::{Reach, Remote};
use ows::backup::restore::{RestoreOptions, restore};
use ows::backup::source::Which;
use ows::cancel::Cancel;
use ows::report::Silent;
use ows_providers::layers::{CallCounter, Count, Counting};
use ows_providers::local::LocalProvider;
use ows_providers::{Operation, Provider};

use super::archives::{
    Body, Key, Reader, entry, header, name, noise, settings, stored_as, told, tree,
};

const MIB: usize = 1 << 20;

/// Writes a sealed snapshot of this many files of a MiB that do not compress, and one of 10 KiB in their middle.
fn write_large(folder: &Path, key: &Key, files: u64) {
    let encrypted = true;
    let data_name = name().object(Part::Data {
        volume: None,
        encrypted,
    });
    let data = folder.join(&data_name);
    let output = BufWriter::new(File::create(&data).unwrap());
    let mut gzip = ParallelGzip::new(key.seal.seal(output).unwrap(), 1, 2).unwrap();
    let sealed_index = key.seal.seal(Vec::new()).unwrap();
    let mut index = IndexWriter::new(sealed_index, name()).unwrap();
    let mut position = 0;
    let mut totals = Totals::default();
    let large = Body::File(noise(1, MIB));
    for number in 0..files {
        let mut add = |path: &str, body: &Body| {
            let Body::File(content) = body else { return };
            gzip.write_all(header(path, body, content.len() as u64).as_bytes())
                .unwrap();
            gzip.write_all(content).unwrap();
            let place = Place {
                volume: 1,
                offset: position + 512,
            };
            position += 512 + content.len() as u64;
            totals.files += 1;
            totals.bytes += content.len() as u64;
            index.entry(&entry(path, body, place)).unwrap();
        };
        add(&format!("workspace/large/{number:04}"), &large);
        if number == files / 2 {
            add("workspace/small", &Body::File(noise(2, 10 << 10)));
        }
    }
    gzip.write_all(&[0; 1024]).unwrap();
    let finished = gzip.finish().unwrap();
    index.blocks(1, &finished.points).unwrap();
    finished.output.finish().unwrap().flush().unwrap();
    let index_object = index.finish().unwrap().finish().unwrap();
    let index_name = name().object(Part::Index { encrypted });
    let manifest = Manifest {
        format: FORMAT,
        snapshot: name(),
        profile: "default".to_owned(),
        host: "here".to_owned(),
        started_at: name().taken_at(),
        finished_at: name().taken_at(),
        tool: "ows test".to_owned(),
        encryption: key.seal.describe(),
        items: Vec::new(),
        volumes: vec![Volume {
            object: StoredObject {
                name: data_name,
                size: data.metadata().unwrap().len(),
                // Nobody reads all of it here.
                sha256: Digest::of(b""),
            },
            tar_size: finished.content,
        }],
        index: stored_as(&index_name, &index_object),
        totals,
        problems: Vec::new(),
        previous: None,
    };
    std::fs::write(folder.join(index_name), index_object).unwrap();
    let manifest_name = name().object(Part::Manifest);
    std::fs::write(folder.join(manifest_name), manifest.write().unwrap()).unwrap();
}

/// Counted is everything but the listing: the manifest, the index, and what is read of the data.
#[tokio::test(flavor = "multi_thread")]
async fn one_small_file_out_of_a_gibibyte_costs_four_requests_and_three_mebibytes() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("remote");
    std::fs::create_dir(&folder).unwrap();
    let key = Key::new();
    write_large(&folder, &key, 1024);
    let counter = CallCounter::new();
    let provider: Arc<dyn Provider> = Arc::new(Count::new(
        Arc::new(LocalProvider::open(&folder).unwrap()),
        Arc::clone(&counter),
        Counting::Calls,
    ));
    let mut reader = Reader::new();
    reader.give(&key);
    let mut host = settings(provider, Arc::clone(&counter), place.path());
    host.identities = reader.settings.identities.clone();
    host.encryption = reader.settings.encryption.clone();

    let catalog = Catalog::read(&*host.provider, None).await.unwrap();
    let target = place.path().join("target");
    let options = RestoreOptions {
        snapshot: Which::Latest,
        to: Some(target.clone()),
        only: vec![AskedPath::new("workspace/small").unwrap()],
        dry_run: false,
        overwrite: false,
    };
    let restored = restore(&host, &catalog, options, Arc::new(Silent), &Cancel::new())
        .await
        .unwrap_or_else(|failure| panic!("{}", told(&failure)));
    assert!(restored.is_whole(), "{:?}", restored.done.bad);
    assert_eq!(tree(&target)["workspace/small"], noise(2, 10 << 10));
    let counts = counter.counts();
    let requests = counts.of(Operation::Get);
    assert!(requests <= 4, "{requests} requests");
    assert!(
        counts.bytes_down <= 3 << 20,
        "{} bytes were read",
        counts.bytes_down
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_one_request_and_ends_where_it_was_said() {
    let reader = Reader::new();
    let content = noise(5, 1_000_000);
    reader.store.insert("object", &content);
    let entry = reader.store.entry("object").unwrap();
    let remote = Remote::new(Arc::clone(&reader.settings.provider), Cancel::new());
    let counter = Arc::clone(&reader.counter);
    tokio::task::spawn_blocking(move || {
        let reach = Reach::default();
        let mut object = remote.open(&entry, reach.clone());
        reach.set(700_000);
        object.seek(SeekFrom::Start(500_000)).unwrap();
        let mut read = vec![0; 200_000];
        object.read_exact(&mut read).unwrap();
        assert_eq!(read, content[500_000..700_000]);
        let counts = counter.counts();
        assert_eq!((counts.of(Operation::Get), counts.bytes_down), (1, 200_000));
        // Reading on is another request; the end is the end.
        let mut rest = Vec::new();
        object.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, content[700_000..]);
        assert_eq!(object.seek(SeekFrom::End(-10)).unwrap(), 999_990);
        rest.clear();
        object.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, content[999_990..]);
        object.seek(SeekFrom::Start(2_000_000)).unwrap();
        assert_eq!(object.read(&mut [0; 10]).unwrap(), 0);
        assert!(object.seek(SeekFrom::Current(-3_000_000)).is_err());
    })
    .await
    .unwrap();
}
