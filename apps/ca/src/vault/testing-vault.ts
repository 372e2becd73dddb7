/**
 * Not Vault: a small HTTP server that follows the documented paths of its PKI secrets engine and signs with openssl, for tests
 * where no Vault can be had. It answers as Vault 1.5 does, to the clients that hold its token.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface VaultServer extends AsyncDisposable {
  address: string;
  token: string;
  /** "POST /v1/…", in their order. */
  calls: string[];
  /** Answers this to every call whose path matches, until it is called with none. */
  fail(path?: RegExp, status?: number, errors?: string[]): void;
  /** From now on it takes calls and answers none; resolves with the first. */
  hang(): Promise<void>;
  /** Changes what is signed: openssl's extension lines of leaves. */
  leafExtensions: (uri: string) => string[];
  /** Seconds that the token lives; 0 for ever. */
  tokenTtl: number;
  renewals: number;
  stop(): Promise<void>;
  restart(): Promise<void>;
}

interface Mount {
  dir: string;
  /** Of what signs here: absent until one is made or set. */
  certificate?: string;
  roles: Map<string, Record<string, unknown>>;
}

interface Answer {
  status: number;
  data?: object;
  auth?: object;
  errors?: string[];
  text?: string;
}

export async function startVaultServer(): Promise<VaultServer> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-vault-"));
  const mounts = new Map<string, Mount>();
  const token = `s.${randomBytes(12).toString("hex")}`;
  let hanging: (() => void) | undefined;
  let failing: { path: RegExp; status: number; errors: string[] } | undefined;

  const answer = async (method: string, path: string, body: Record<string, string>, given: string): Promise<Answer> => {
    if (failing?.path.test(path)) return failing;
    const at = [...mounts.keys()].find((name) => path.startsWith(`${name}/`)) ?? "";
    const mount = mounts.get(at);
    const what = mount ? path.slice(at.length + 1) : path;
    // What may be read without a token (unauthenticated endpoints).
    if (what === "ca/pem" && mount)
      return mount.certificate ? { status: 200, text: mount.certificate.trimEnd() } : { status: 204, text: "" };
    if (given !== token) return { status: 403, errors: ["permission denied"] };
    if (path === "auth/token/lookup-self")
      return { status: 200, data: { ttl: vault.tokenTtl, renewable: vault.tokenTtl > 0 } };
    if (path === "auth/token/renew-self") {
      vault.renewals++;
      return { status: 200, auth: { client_token: token, lease_duration: vault.tokenTtl, renewable: true } };
    }
    if (method === "POST" && path.startsWith("sys/mounts/")) {
      const name = path.slice("sys/mounts/".length);
      if (mounts.has(name)) return { status: 400, errors: [`path is already in use at ${name}/`] };
      mounts.set(name, createMount(join(dir, randomBytes(4).toString("hex"))));
      return { status: 204 };
    }
    if (!mount) return { status: 404, errors: [`no handler for route '${path}'`] };
    return pki(mount, what, body, vault.leafExtensions);
  };

  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of req as AsyncIterable<Buffer>) chunks.push(chunk);
    const path = (req.url ?? "").replace(/^\/v1\//, "");
    vault.calls.push(`${req.method} /v1/${path}`);
    if (hanging) return hanging();
    const body = JSON.parse(Buffer.concat(chunks).toString() || "{}") as Record<string, string>;
    const given = String(req.headers["x-vault-token"] ?? "");
    const { status, text, ...rest } = await answer(req.method ?? "", path, body, given).catch(
      (error: unknown): Answer => ({ status: 500, errors: [String((error as { stderr?: string }).stderr ?? error)] }),
    );
    res.statusCode = status;
    res.end(text ?? (status === 204 ? "" : JSON.stringify(rest)));
  };
  const server = createServer((req, res) => void handle(req, res).catch(() => res.destroy()));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const stop = async () => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  const vault: VaultServer = {
    address: `http://127.0.0.1:${port}`,
    token,
    calls: [],
    fail: (path, status = 500, errors = ["internal error"]) => (failing = path && { path, status, errors }),
    hang: () => new Promise((resolve) => (hanging = resolve)),
    // As Vault's default role has them, with basic_constraints_valid_for_non_ca.
    leafExtensions: (uri) => [
      "basicConstraints=critical,CA:FALSE",
      "keyUsage=critical,digitalSignature,keyEncipherment,keyAgreement",
      "extendedKeyUsage=serverAuth,clientAuth",
      `subjectAltName=URI:${uri}`,
    ],
    tokenTtl: 0,
    renewals: 0,
    stop,
    async restart() {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    async [Symbol.asyncDispose]() {
      await stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return vault;
}

function createMount(dir: string): Mount {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "index.txt"), "");
  writeFileSync(join(dir, "index.txt.attr"), "unique_subject = no\n");
  const names = ["countryName", "organizationName", "commonName"].map((name) => `${name} = optional`);
  const ca = [
    "[ca]",
    "default_ca = own",
    "[own]",
    `database = ${dir}/index.txt`,
    `new_certs_dir = ${dir}`,
    `serial = ${dir}/serial`,
    "email_in_dn = no",
  ];
  writeFileSync(join(dir, "ca.cnf"), [...ca, "policy = any", "default_md = sha256", "[any]", ...names, ""].join("\n"));
  return { dir, roles: new Map() };
}

const SIGNER = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];

/** The paths of a mount. */
async function pki(
  mount: Mount,
  what: string,
  body: Record<string, string>,
  leafLines: VaultServer["leafExtensions"],
): Promise<Answer> {
  const path = (name: string) => join(mount.dir, name);
  const issuer = () => readFileSync(path("cert.pem"), "utf8");
  const newKey = (out: string) => {
    const type = body["key_type"] === "rsa" ? `rsa:${body["key_bits"]}` : "ec";
    const curve = type === "ec" ? ["-pkeyopt", `ec_paramgen_curve:P-${body["key_bits"]}`] : [];
    return ["-newkey", type, ...curve, "-nodes", "-keyout", out, "-subj", `/CN=${body["common_name"]}`];
  };
  switch (what) {
    case "config/urls":
      return { status: 200, data: {} };
    case "root/generate/internal": {
      await run("openssl", ["req", "-new", ...newKey(path("key.pem")), "-out", path("root.csr")]);
      const lines = [...SIGNER, `subjectAltName=URI:${body["uri_sans"]}`];
      writeFileSync(path("cert.pem"), await sign(mount, ["-selfsign", "-in", path("root.csr")], lines, body["ttl"]));
      mount.certificate = issuer();
      return { status: 200, data: { certificate: issuer().trimEnd() } };
    }
    case "intermediate/generate/internal": {
      const san = ["-addext", `subjectAltName=URI:${body["uri_sans"]}`];
      const { stdout } = await run("openssl", ["req", "-new", ...newKey(path("next.pem")), ...san]);
      return { status: 200, data: { csr: stdout.trimEnd() } };
    }
    case "intermediate/set-signed":
      writeFileSync(path("cert.pem"), body["certificate"] ?? "");
      writeFileSync(path("key.pem"), readFileSync(path("next.pem")));
      mount.certificate = issuer();
      return { status: 204 };
    case "root/sign-intermediate": {
      writeFileSync(path("in.csr"), body["csr"] ?? "");
      const { stdout } = await run("openssl", ["req", "-in", path("in.csr"), "-noout", "-text"]);
      const uri = /URI:(\S+)/.exec(stdout)?.[1];
      const lines = [
        `${SIGNER[0]},pathlen:${body["max_path_length"] ?? 1}`,
        SIGNER[1] as string,
        `subjectAltName=URI:${uri}`,
      ];
      return { status: 200, data: { certificate: await sign(mount, ["-in", path("in.csr")], lines, body["ttl"]) } };
    }
    case "root/sign-self-issued": {
      writeFileSync(path("self.pem"), body["certificate"] ?? "");
      const args = ["x509", "-in", path("self.pem"), "-noout", "-ext", "subjectAltName,subjectKeyIdentifier"];
      const { stdout } = await run("openssl", args);
      // All of it stays as it is but its issuer.
      const uri = /URI:\S+/.exec(stdout)?.[0];
      const keyId = /^\s*((?:[0-9A-F]{2}:)+[0-9A-F]{2})$/m.exec(stdout)?.[1];
      const lines = [...SIGNER, `subjectAltName=${uri}`, `subjectKeyIdentifier=${keyId}`];
      return { status: 200, data: { certificate: await sign(mount, ["-ss_cert", path("self.pem")], lines, "86400s") } };
    }
  }
  const [kind, role = ""] = what.split("/");
  if (kind === "roles") {
    mount.roles.set(role, body);
    return { status: 204 };
  }
  if (kind === "sign") {
    const rules = mount.roles.get(role);
    if (!rules) return { status: 400, errors: [`unknown role: ${role}`] };
    const uri = body["uri_sans"] ?? "";
    if (!uri.startsWith(String(rules["allowed_uri_sans"]).replace(/\*$/, "")))
      return { status: 400, errors: [`the requested subject alternative names contains an invalid URI ${uri}`] };
    const name = randomBytes(6).toString("hex");
    writeFileSync(path(`${name}.csr`), body["csr"] ?? "");
    const from = ["-in", path(`${name}.csr`), "-subj", "/CN=leaf"];
    const certificate = await sign(mount, from, leafLines(uri), body["ttl"]);
    return { status: 200, data: { certificate, issuing_ca: issuer().trimEnd(), ca_chain: [issuer().trimEnd()] } };
  }
  return { status: 404, errors: ["unsupported path"] };
}

let last: Promise<unknown> = Promise.resolve(); // openssl's database takes one at a time

async function sign({ dir }: Mount, from: string[], extensions: string[], ttl = "3600s"): Promise<string> {
  const done = last.then(async () => {
    const name = join(dir, randomBytes(6).toString("hex"));
    const lines = [...extensions, "authorityKeyIdentifier=keyid"];
    if (!extensions.some((line) => line.startsWith("subjectKeyId"))) lines.push("subjectKeyIdentifier=hash");
    writeFileSync(`${name}.ext`, lines.join("\n"));
    const date = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace(/[-T:]/g, "")}Z`;
    const now = Date.now();
    const times = [
      "-startdate",
      date(now - 30_000), // as not_before_duration has it
      "-enddate",
      date(now + Number.parseInt(ttl, 10) * 1_000),
    ];
    const cert = from.includes("-selfsign") ? [] : ["-cert", join(dir, "cert.pem")];
    const by = ["-config", join(dir, "ca.cnf"), ...cert, "-keyfile", join(dir, "key.pem")];
    const out = ["-batch", "-notext", "-rand_serial", "-extfile", `${name}.ext`, "-out", `${name}.pem`];
    await run("openssl", ["ca", ...by, ...times, ...out, ...from]);
    return readFileSync(`${name}.pem`, "utf8").trimEnd();
  });
  last = done.catch(() => {});
  return done;
}
