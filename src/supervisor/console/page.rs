//! The page itself: static files, in this program.

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// By their names, the page's style and the modules of its script.
macro_rules! files {
    ($path:expr, $($kind:ident: $($name:literal)*;)*) => {
        match $path {
            $($(concat!("/", $name) => Some(($kind, include_str!(concat!("page/", $name)))),)*)*
            _ => None,
        }
    };
}

/// The file at `path`, and its type.
pub fn file(path: &str) -> Option<(&'static str, &'static str)> {
    if matches!(path, "" | "/") {
        return Some((HTML, include_str!("page/index.html")));
    }
    files! { path,
        STYLE: "console.css";
        SCRIPT: "console.js" "acting.js" "captions.js" "charts.js" "dom.js" "links.js" "messages.js"
                "model.js" "net.js" "panels.js" "ring.js" "steps.js" "story.js" "timeline.js";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_another_one_imports_is_served() {
        let (_, main) = file("/console.js").unwrap();
        let mut waiting: Vec<&str> = vec![main];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(text) = waiting.pop() {
            for line in text.lines().filter(|line| line.contains("from \"./")) {
                let (_, name) = line.split_once("\"./").unwrap();
                let path = format!("/{}", name.split('"').next().unwrap());
                let (_, text) = file(&path).unwrap_or_else(|| panic!("{path} is not served"));
                if seen.insert(path) {
                    waiting.push(text);
                }
            }
        }
        assert!(seen.len() > 5, "{seen:?}");
    }
}
