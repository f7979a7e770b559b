//! URLs and settings.

use super::{Kind, Parts, Place, Settings, is_setting, is_url, shown_url};

fn parts(url: &str) -> String {
    match Parts::of(url) {
        Ok(Parts { kind, authority, key, query, .. }) => {
            format!("{kind:?} {authority} {key} {}", query.unwrap_or("-"))
        }
        Err(error) => error.code().code().to_owned(),
    }
}

#[test]
fn urls() {
    let cases = [
        ("s3://bucket/dir/*.json", "S3 bucket dir/*.json -"),
        ("S3A://bucket/what?.json", "S3 bucket what?.json -"),
        ("s3://bucket", "S3 bucket  -"),
        ("gs://bucket/a b/ü.csv", "Google bucket a b/ü.csv -"),
        ("az://container/x", "Azure container x -"),
        ("abfss://container@account.dfs.core.windows.net/x/y", "Azure container@account.dfs.core.windows.net x/y -"),
        ("https://host:8080/a%20b.csv?sig=x?y", "Http host:8080 a%20b.csv sig=x?y"),
        ("http://host/", "Http host  -"),
        ("https://host/*.csv", "0A000"),
        ("s3:///x", "22023"),
        ("s3://", "22023"),
        ("ftp://host/x", "22023"),
        ("/a/b", "22023"),
    ];
    for (url, expected) in cases {
        assert_eq!(parts(url), expected, "{url}");
        assert_eq!(is_url(url), !url.starts_with(['/', 'f']), "{url}");
    }
    assert_eq!(shown_url("https://host/a?sig=x"), "https://host/a");
    assert_eq!(shown_url("s3://b/what?"), "s3://b/what?");
}

#[test]
fn settings() {
    assert!(is_setting("s3://b/x", "aws_region") && !is_setting("gs://b/x", "aws_region"));
    assert!(is_setting("gs://b/x", "google_service_account_key") && is_setting("abfs://c/x", "azure_account_name"));
    assert!(!is_setting("https://h/x", "aws_region") && !is_setting("/x", "aws_region"));
    let open = |url: &str, settings: &[(&str, &str)]| {
        let settings: Settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match Place::of(url, &settings) {
            Ok(place) => format!("{:?} {} {}", place.bucket.kind, place.bucket.base, place.key),
            Err(error) => error.code().code().to_owned(),
        }
    };
    let (account, key) = (("azure_storage_account_name", "a"), ("azure_storage_account_key", "a2V5"));
    assert_eq!(open("s3://b/x/*", &[("aws_region", "eu-north-1")]), "S3 s3://b/ x/*");
    assert_eq!(open("az://c/x", &[account, key]), "Azure az://c/ x");
    assert_eq!(open("abfss://c@a.dfs.core.windows.net/x", &[key]), "Azure abfss://c@a.dfs.core.windows.net/ x");
    assert_eq!(open("abfss://c@elsewhere.example/x", &[key]), "22023");
    assert_eq!(open("gs://b/x", &[("google_skip_signature", "true")]), "Google gs://b/ x");
    assert_eq!(open("gs://b/x", &[("google_service_account_key", "{}")]), "22023");
    assert_eq!(open("s3://b/x", &[("aws_speed", "fast")]), "22023");
    assert_eq!(open("https://h/x?y", &[]), "Http https://h/ x");
    assert_eq!(Kind::Http.prefix(), None);
}
