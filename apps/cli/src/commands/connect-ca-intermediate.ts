/** `heddle connect ca csr|set-intermediate`: a root whose key stays elsewhere. */
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";

const CA = "/v1/connect/ca";
const ROTATION_TIMEOUT_MS = 60_000;

export const csr = command({
  usage: "connect ca csr [options]",
  about: `Prints a request for an intermediate certificate, for whoever keeps the root's key. The key that it is for is made by the
CA and stays there; a new request takes the place of the one before.

    $ heddle connect ca csr > mesh.csr`,
  api: "datacenter",
  async run({ api, terminal }) {
    const { body } = await attempt("Error making a request", api.put<{ CSR: string }>(`${CA}/csr`));
    terminal.out(body.CSR);
  },
});

export const setIntermediate = command({
  usage: "connect ca set-intermediate [options]",
  about: `Has an intermediate sign for a root whose key is elsewhere. Another root than the present one is a rotation; the rest of
the configuration stays as it is.

    $ heddle connect ca set-intermediate -root=root.pem -cert=mesh.pem`,
  api: "datacenter",
  flags: {
    cert: flag.text("File with the intermediate certificate, as PEM."),
    key: flag.text("File with its key, as PEM; where it was not made for a request here."),
    root: flag.text("File with the root certificate that has signed it, as PEM."),
  },
  async run({ api, flags, terminal }) {
    const { cert, key, root } = flags;
    if (cert === "" || root === "") throw new CommandError("The -root and -cert flags are required");
    const read = (path: string) => readBytes(path, "Error reading file").toString("utf8");
    const offered = {
      RootCert: read(root),
      IntermediateCert: read(cert),
      ...(key !== "" && { PrivateKey: read(key) }),
    };
    const path = `${CA}/configuration`;
    const asked = api.get<{ Provider: string; Config: Record<string, unknown> | null }>(path);
    const { body: now } = await attempt("Error querying CA configuration", asked);
    const body = { Provider: now.Provider, Config: { ...now.Config, ...offered } };
    await attempt("Error setting CA configuration", api.put(path, { body, timeoutMs: ROTATION_TIMEOUT_MS }));
    terminal.out("The intermediate signs.\n");
  },
});
