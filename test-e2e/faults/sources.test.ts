/** SUP-05: what must not stand in sources, outside the places that were looked at and that this list gives the reason of. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "./daemon.ts";

/** Sources that ship or build what ships; tests forge bad certificates on purpose. */
function sources(): string[] {
  return ["apps", "packages", "tools"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter(
        (file) =>
          /\.(?:ts|tsx|mts|js|mjs|cjs)$/.test(file) &&
          !/node_modules|(?:^|\/)(?:dist|coverage|conformance|test)\/|\.test\.|testing/.test(file),
      )
      .map((file) => join(folder, file)),
  );
}

interface Rule {
  what: string;
  pattern: RegExp;
  /** File and reason. A file that no longer has it must leave the list. */
  audited: Record<string, string>;
}

const RULES: Rule[] = [
  {
    what: "TLS that does not check its peer",
    pattern: /rejectUnauthorized(?!: true\b)/,
    audited: {
      "apps/health/src/probes/dial.ts":
        "a check's own TLSSkipVerify: it says whether its target lives, and carries nothing of ours",
      "packages/api-client/src/http-handler.ts":
        "tls_skip_verify of a watch's own handler, which the operator sets for that one endpoint",
      "packages/api-client/src/transport.ts":
        "CONSUL_HTTP_SSL_VERIFY=false, which a user of the CLI sets for their own connection",
      "packages/tls/src/context.ts":
        "a server that nodes join at: callers without a certificate reach the paths of joining and 403 on all others",
    },
  },
  {
    what: "a server identity that is not checked by Node",
    pattern: /checkServerIdentity: /,
    audited: {
      "packages/tls/src/context.ts":
        "mesh certificates hold no host names: checkPeer compares the SPIFFE URI; the internal API checks name and role",
      "apps/health/src/probes/dial.ts": "a check's own TLSSkipVerify",
    },
  },
  {
    what: "text that becomes code",
    pattern: /\beval\(|new Function\b|\bFunction\(|from "node:vm"|setTimeout\("/,
    audited: {},
  },
  {
    what: "a shell between us and a program",
    pattern: /shell: true\b|\/bin\/sh\b|execSync\(/,
    audited: {
      "apps/agent/src/watches/script.ts":
        "a watch of the operator's own files whose handler is a line of shell, as Consul has it",
      "apps/cli/src/child.ts": "lock and watch run the command line that their user typed, as Consul's do",
      "apps/cli/src/commands/lock.ts": "its help",
      "apps/cli/src/commands/watch.ts": "its help",
    },
  },
  {
    what: "names of a certificate read from Node's text",
    pattern: /subjectaltname|(?:[cC]ert|[pP]eer|x509)\w*\.subjectAltName/,
    audited: {},
  },
  {
    what: "secrets or identities by chance that can be guessed",
    pattern: /Math\.random\(\).*(?:token|id|key|serial|secret)|(?:token|secret|serial)\w* = .*Math\.random/i,
    audited: {},
  },
  {
    what: "a switch that turns checks off for the whole process",
    pattern: /NODE_TLS_REJECT_UNAUTHORIZED|--insecure-http-parser|insecureHTTPParser|--inspect\b/,
    audited: {},
  },
  {
    what: "HTML from strings",
    pattern: /innerHTML|dangerouslySetInnerHTML|insertAdjacentHTML|document\.write/,
    audited: {},
  },
];

test.each(RULES)("$what stands in audited places alone", ({ pattern, audited }) => {
  const found = new Map<string, string[]>();
  for (const file of sources())
    for (const [n, line] of readFileSync(join(ROOT, file), "utf8").split("\n").entries()) {
      const isComment = /^\s*(?:\/\/|\*|\/\*)/.test(line);
      if (!isComment && pattern.test(line)) found.set(file, [...(found.get(file) ?? []), `${n + 1}: ${line.trim()}`]);
    }
  const unaudited = [...found].filter(([file]) => !Object.hasOwn(audited, file));
  expect(unaudited).toEqual([]);
  expect(Object.keys(audited).filter((file) => !found.has(file))).toEqual([]);
});

test("there is something to look at", () => {
  expect(sources().length).toBeGreaterThan(200);
  expect(sources()).toContain("packages/tls/src/context.ts");
});
