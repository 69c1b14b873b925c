//! A first push that would send up files whose names say that they hold secrets says so.

use crate::plan::{Op, Plan};
use crate::secret_names::{SecretFiles, looks_secret};
use ows_providers::RelPath;

/// What a person should hear before such files go up for the first time.
pub(super) fn warning(plan: &Plan) -> Option<String> {
    let uploads = plan.actions().filter(|action| action.op == Op::Upload);
    let paths = uploads.map(|action| &action.key.path);
    told(paths.filter(|path| looks_secret(path.name())))
}

fn told<'a>(secret: impl Iterator<Item = &'a RelPath>) -> Option<String> {
    let mut files = SecretFiles::default();
    secret.for_each(|path| files.add(path));
    let (what, names) = files.told()?;
    Some(format!(
        "this first push sends up {what}, unencrypted: {names}; to leave a file out, name it in `exclude` or in \
         `.sync-excludes` (such as `.env` or `*.pem`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn a_few_are_named_and_all_are_counted() {
        assert_eq!(told(std::iter::empty()), None);
        let one = told([path(".env")].iter()).unwrap();
        assert!(
            one.contains("1 file that looks like a secret, unencrypted: `.env`; "),
            "{one}"
        );
        let paths: Vec<_> = (1..=7)
            .map(|number| path(&format!("{number}.pem")))
            .collect();
        let many = told(paths.iter()).unwrap();
        assert!(many.contains("7 files that look"), "{many}");
        assert!(many.contains("`5.pem` and 2 more; "), "{many}");
        assert!(!many.contains("6.pem"), "{many}");
    }
}
