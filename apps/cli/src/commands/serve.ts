/** `heddle serve catalog|ca|health|dns`: one daemon alone. */
const DAEMONS: Record<
  string,
  { synopsis: string; load: () => Promise<{ main: (argv: string[]) => Promise<number> }> }
> = {
  catalog: {
    synopsis: "The registry: nodes, services, checks, KV, sessions, intentions",
    load: () => import("@heddle/catalog"),
  },
  ca: { synopsis: "The certificate authority: roots, leaf signing", load: () => import("@heddle/ca") },
  health: { synopsis: "The health checker: runs probes, reports what changed", load: () => import("@heddle/health") },
  dns: { synopsis: "Answers *.consul from the catalog", load: () => import("@heddle/dns") },
};

const HELP = `Usage: heddle serve <daemon> [options]

  Runs one daemon alone. They find each other by address; on anything but
  loopback they speak mutual TLS (see 'heddle tls').

Daemons:

${Object.entries(DAEMONS)
  .map(([name, { synopsis }]) => `    ${name.padEnd(10)}${synopsis}`)
  .join("\n")}

  'heddle serve <daemon> -help' lists a daemon's options.
`;

/** The daemons. */
export const words = (): string[] => Object.keys(DAEMONS);

export async function run(argv: string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || /^--?h(?:elp)?$/.test(name)) {
    process.stdout.write(HELP);
    return 0;
  }
  const daemon = Object.hasOwn(DAEMONS, name) ? DAEMONS[name] : undefined;
  if (!daemon) {
    process.stderr.write(`unknown daemon '${name}': want one of ${Object.keys(DAEMONS).join(", ")}\n`);
    return 1;
  }
  return (await daemon.load()).main(rest);
}
