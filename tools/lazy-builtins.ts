/** Part of every bundle for Node. */
import { isBuiltin } from "node:module";
import type { Plugin } from "esbuild";

/**
 * Node's own modules are taken as CommonJS: importing `node:http` as an ES module reads every export, and one of them loads
 * undici (28 ms of each start, measured on Node 26).
 */
export const lazyBuiltins: Plugin = {
  name: "lazy-builtins",
  setup(builder) {
    builder.onResolve({ filter: /^[a-z_:/]+$/ }, ({ path }) =>
      isBuiltin(path) ? { path, namespace: "builtin" } : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
      loader: "js",
    }));
  },
};

/** CommonJS packages inside an ES module bundle call require for Node's own modules. */
export const REQUIRE_BANNER =
  'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';

/** Optional natives of ws: not installed, found missing at run time. */
export const NOT_BUNDLED = ["bufferutil", "utf-8-validate"];
