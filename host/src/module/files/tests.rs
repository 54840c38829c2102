//! What lies in a folder, and what reading it comes to.

use nix::sys::stat::Mode;

use super::*;

#[test]
fn only_libraries_that_are_not_hidden_are_modules_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in [format!("b.{ENDING}"), format!("a.{ENDING}"), format!(".c.{ENDING}"), "d.txt".to_owned()] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    std::os::unix::fs::symlink("nowhere", folder.path().join(format!("e.{ENDING}"))).unwrap();
    let names: Vec<PathBuf> =
        module_files(folder.path()).unwrap().into_iter().map(|found| found.path).collect();
    assert_eq!(names, ["a", "b", "e"].map(|name| folder.path().join(format!("{name}.{ENDING}"))));
    assert!(matches!(behind(&names[2]), Ok(None)));
    assert!(matches!(behind(&names[0]), Ok(Some(_))));
}

#[test]
fn a_file_that_is_open_for_writing_is_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half");
    let writer = std::fs::File::create(&path).unwrap();
    let reader = std::fs::File::open(&path).unwrap();
    if tls_keys::is_being_written(&reader).is_some() {
        assert!(matches!(read(&path), Ok(FileReading::Unfinished)));
    }
    drop(writer);
    assert!(matches!(read(&path), Ok(FileReading::Whole(_, bytes)) if bytes.is_empty()));
}

#[track_caller]
fn refused(path: &Path, says: &str) {
    match read(path) {
        Err(refusal) => assert!(refusal.to_string().contains(says), "{refusal}"),
        Ok(_) => panic!("{} was read", path.display()),
    }
}

#[test]
fn what_is_no_regular_file_is_refused_by_its_type_and_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let links = [("pipe", "to pipe"), ("/dev/zero", "to device"), ("loop", "loop")];
    for (target, name) in links {
        std::os::unix::fs::symlink(target, at(name)).unwrap();
    }
    let expected = [
        ("pipe", "is a named pipe"),
        ("to pipe", "is a named pipe"),
        ("folder", "is a folder"),
        ("socket", "is a socket"),
        ("to device", "is a device"),
        ("loop", "cannot be looked at: "),
    ];
    for (name, says) in expected {
        refused(&at(name), says);
    }
    assert!(behind(&at("loop")).is_err());
}

#[test]
fn a_file_of_gigabytes_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(10 << 30).unwrap();
    drop(sparse);
    refused(&path, "has 10737418240 bytes; a module has at most 536870912");

    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(LARGE).unwrap();
    drop(sparse);
    assert!(matches!(read(&path), Ok(FileReading::Whole(_, bytes)) if bytes.len() as u64 == HEAD));
}

#[tokio::test]
async fn a_file_that_does_not_answer_is_asked_once_and_heard_when_it_does() {
    let mut looks = PatientLooks::default();
    let (answer, answers) = std::sync::mpsc::channel::<u32>();
    let (file, short) = (Path::new("x.so"), Duration::from_millis(5));
    let work = move |_: &Path| answers.recv().unwrap();
    assert!(matches!(looks.look(file, short, work).await, Err(FileRefusal::Stuck(_))));
    let asked_again = looks.look(file, LOOK_WITHIN, |_| 1).await;
    assert!(matches!(asked_again, Err(FileRefusal::Stuck(_))));
    assert!(matches!(looks.look(Path::new("y.so"), LOOK_WITHIN, |_| 2).await, Ok(2)));
    answer.send(7).unwrap();
    let heard = loop {
        match looks.look(file, LOOK_WITHIN, |_| 1).await {
            Ok(heard) => break heard,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(heard, 7);
}
