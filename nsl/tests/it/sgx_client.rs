//! The typed client on sealed storage, where the command line does not lead.

use nsl_client::{BatchItem, Error, GetOptions, PutOptions};

use crate::installation::Installation;

#[tokio::test]
async fn batches_are_all_or_none_or_each_for_itself() {
    let installation = Installation::new().await;
    let client = installation.client().await;
    let sgx = client.sgx();
    let item = |key, bytes, options| BatchItem { service: "demo", key, bytes, options };
    let always = PutOptions::default;
    let only_new = || PutOptions { if_none_match: true, ..PutOptions::default() };

    let put = sgx.put_all(&[item("a", b"1", always()), item("b", b"", only_new())]).await.unwrap();
    assert!(put.len() == 2 && put.iter().all(|put| put.created && put.item.version == 1));
    // One is refused: none is put, and the error says which.
    let refused = sgx.put_all(&[item("a", b"2", always()), item("b", b"2", only_new())]).await.unwrap_err();
    let Error::Problem(problem) = &refused else { panic!("{refused}") };
    assert_eq!(
        (problem.code.as_str(), problem.errors[0].pointer.as_str()),
        ("sgx.version_conflict", "/items/1")
    );
    let each = sgx.put_each(&[item("a", b"3", always()), item("b", b"3", only_new())]).await.unwrap();
    assert_eq!(each[0].as_ref().unwrap().item.version, 2);
    assert_eq!(each[1].as_ref().unwrap_err().code, "sgx.version_conflict");

    let got = sgx.get_each(&[("demo", "b"), ("demo", "none"), ("demo", "a")]).await.unwrap();
    assert_eq!(got[0].as_ref().unwrap().bytes.as_slice(), b"");
    let missing = got[1].as_ref().map(|record| record.info.version).unwrap_err();
    assert_eq!((missing.status, missing.code.as_str()), (404, "sgx.item_not_found"));
    let record = got[2].as_ref().unwrap();
    assert_eq!((record.bytes.as_slice(), record.info.version), (&b"3"[..], 2));
}

#[tokio::test]
async fn a_stream_that_is_shorter_or_longer_than_it_said_puts_nothing() {
    let installation = Installation::new().await;
    let client = installation.client().await;
    let options = PutOptions::default();
    for declared in [2, 4] {
        let put = client.sgx().put_stream("demo", "s", &b"abc"[..], Some(declared), &options).await;
        assert!(put.is_err(), "{declared} bytes were said, 3 came");
        assert!(client.sgx().head("demo", "s").await.unwrap().is_none());
    }
    let put = client.sgx().put_stream("demo", "s", &b"abc"[..], None, &options).await.unwrap();
    assert!(put.created && put.item.size == 3);
    let mut value = client.sgx().get_stream("demo", "s", &GetOptions::default()).await.unwrap();
    assert_eq!((value.version, value.size), (1, Some(3)));
    assert_eq!(value.chunk().await.unwrap().unwrap(), &b"abc"[..]);
    assert!(value.chunk().await.unwrap().is_none());
}
