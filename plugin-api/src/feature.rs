//! Feature arcs: out-arcs that other plugins' nodes may be put on at run time.

/// Declares a feature arc: the out-arcs to `end` of all nodes in `starts`.
///
/// Features are chosen by the packet's rx interface, or by its tx interface with `by: tx`. While
/// none is enabled the arc is an ordinary one and costs nothing.
#[macro_export]
macro_rules! declare_arc {
    ($plugin:ty, $name:literal, starts: [$($start:literal),+ $(,)?], end: $end:literal) => {
        $crate::declare_arc!(@ $plugin, $name, [$($start),+], $end, 0);
    };
    ($plugin:ty, $name:literal, starts: [$($start:literal),+ $(,)?], end: $end:literal, by: tx) => {
        $crate::declare_arc!(@ $plugin, $name, [$($start),+], $end, 1);
    };
    (@ $plugin:ty, $name:literal, [$($start:literal),+], $end:literal, $by_tx:literal) => {
        $crate::__declare! {
            plugin: $plugin,
            kind: ARC,
            name: $name,
            detail: $end,
            body: $crate::abi::declaration::ArcDecl = $crate::abi::declaration::ArcDecl {
                head: $crate::abi::Head::of::<$crate::abi::declaration::ArcDecl>(),
                starts: $crate::abi::List::new(&[$($crate::abi::Str::new($start)),+]),
                end: $crate::abi::Str::new($end),
                by_tx_interface: $by_tx,
                reserved: 0,
            },
        }
    };
}

/// Declares that a node can be put on a feature arc. Its own next `Feature` leads onward.
///
/// `default: on` enables it on every interface as soon as the plugin is loaded; without it an
/// operator does (`set interface feature INTERFACE NODE arc ARC`), or the plugin with
/// [`Host::set_feature`](crate::Host::set_feature). `before` and `after` name other features of the
/// arc, which need not be loaded:
///
/// ```text
/// declare_feature!(AcmeDpiClassify, arc: "ip4-unicast", after: ["mirror-count"], default: on);
/// ```
#[macro_export]
macro_rules! declare_feature {
    ($node:ty, arc: $arc:literal
        $(, before: [$($before:literal),* $(,)?])? $(, after: [$($after:literal),* $(,)?])?
        $(, default: $default:ident)?
    ) => {
        $crate::__declare! {
            plugin: <$node as $crate::Node>::Plugin,
            kind: FEATURE,
            name: <$node as $crate::Node>::NAME,
            detail: $arc,
            body: $crate::abi::declaration::FeatureDecl = $crate::abi::declaration::FeatureDecl {
                head: $crate::abi::Head::of::<$crate::abi::declaration::FeatureDecl>(),
                arc: $crate::abi::Str::new($arc),
                before: $crate::abi::List::new(&[$($($crate::abi::Str::new($before)),*)?]),
                after: $crate::abi::List::new(&[$($($crate::abi::Str::new($after)),*)?]),
                default_on: $crate::declare_feature!(@ $($default)?),
                reserved: 0,
            },
        }
    };
    (@) => { 0 };
    (@ on) => { 1 };
}
