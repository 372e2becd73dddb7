import { loadOptions } from "@heddle/daemon";
import { expect, test } from "vitest";
import { apiOptions, toApiClientOptions } from "./options.ts";

const files: Record<string, string> = { "/tok": "from-file\n", "/ca.pem": "CA", "/c.pem": "CERT", "/k.pem": "KEY" };
const readFile = (path: string) => {
  if (files[path] === undefined) throw new Error("no such file");
  return files[path];
};
const load = (argv: string[], env: Record<string, string>) => {
  const problems: string[] = [];
  const values = loadOptions("test", apiOptions, { argv, env, readFile });
  return { options: toApiClientOptions(values, { env, readFile, readDir: () => ["ca.pem"] }, problems), problems };
};

test("nothing given means the local agent", () => {
  expect(load([], {}).options).toMatchObject({ address: "http://127.0.0.1:8500/", token: undefined });
});

test.each([
  [
    "a flag beats the variables",
    ["-http-addr=h:1"],
    { HEDDLE_HTTP_ADDR: "h:2", CONSUL_HTTP_ADDR: "h:3" },
    "http://h:1/",
  ],
  ["HEDDLE_ beats CONSUL_", [], { HEDDLE_HTTP_ADDR: "h:2", CONSUL_HTTP_ADDR: "h:3" }, "http://h:2/"],
  ["CONSUL_ alone", [], { CONSUL_HTTP_ADDR: "h:3" }, "http://h:3/"],
  [
    "CONSUL_HTTP_SSL never falls back to http",
    [],
    { CONSUL_HTTP_ADDR: "http://h:3", CONSUL_HTTP_SSL: "true" },
    "https://h:3/",
  ],
  ["a Unix socket stays one", [], { CONSUL_HTTP_ADDR: "unix:///run/h.sock" }, "unix:///run/h.sock"],
])("%s", (_title, argv, env, address) => {
  expect(load(argv, env as Record<string, string>).options.address).toBe(address);
});

test("token, authority and certificate come from files", () => {
  const { options, problems } = load(["-token-file=/tok", "-ca-file=/ca.pem", "-client-cert=/c.pem"], {
    CONSUL_CLIENT_KEY: "/k.pem",
    CONSUL_HTTP_AUTH: "u:p",
  });
  expect(problems).toEqual([]);
  expect(options).toMatchObject({
    token: "from-file",
    basicAuth: "u:p",
    tls: { ca: ["CA"], cert: "CERT", key: "KEY" },
  });
});

test("an empty address is as good as none", () => {
  expect(load(["-http-addr="], {})).toMatchObject({ problems: [], options: { address: "http://127.0.0.1:8500/" } });
  const { options } = load(["-http-addr="], { CONSUL_HTTP_ADDR: "127.0.0.1:9500" });
  expect(options).toMatchObject({ address: "http://127.0.0.1:9500/" });
});

test("every problem is reported", () => {
  const { problems } = load(["-http-addr=ftp://x", "-ca-file=/none", "-client-cert=/c.pem"], {
    CONSUL_HTTP_SSL: "maybe",
  });
  expect(problems).toEqual([
    "CONSUL_HTTP_SSL: invalid value 'maybe': want true or false",
    "-http-addr: invalid agent address 'ftp://x': want host:port, http://host:port, https://host:port or unix:///path",
    "-ca-file: cannot read '/none': no such file",
    "-client-cert and -client-key: want both or none",
  ]);
});
