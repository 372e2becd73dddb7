/** Who issues tokens (`jwt-provider`, of Consul from 1.16 on), and what rules may demand of one. */
import { InvalidArgumentError } from "@heddle/daemon";
import type { IntentionJwt, JwtProviderEntry } from "./types-mesh.ts";

const fail = (text: string): never => {
  throw new InvalidArgumentError(text);
};
const CLOCK_SKEW_SECONDS = 30;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const DISCOVERY_TYPES = ["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"];

export function fillJwtProvider(entry: JwtProviderEntry): JwtProviderEntry {
  return { ...entry, ClockSkewSeconds: entry.ClockSkewSeconds || CLOCK_SKEW_SECONDS };
}

export function checkJwtProvider({ Name, JSONWebKeySet: keys, Locations, Forwarding }: JwtProviderEntry): void {
  if (Name === "") fail("Name is required");
  if (!keys) return fail("JSONWebKeySet is required");
  const { Local: local, Remote: remote } = keys;
  if (!local === !remote) fail("must specify exactly one of Local or Remote JSON Web key set");
  if (remote) checkRemote(remote);
  if (local) {
    if (!local.Filename === !local.JWKS) fail("must specify exactly one of String or filename for local keyset");
    if (local.JWKS && !BASE64.test(local.JWKS)) fail("JWKS must be valid base64 encoded string");
  }
  for (const { Header, QueryParam, Cookie } of Locations ?? []) {
    if ([Header, QueryParam, Cookie].filter(Boolean).length !== 1)
      fail("must set exactly one of: JWT location header, query param or cookie");
    if (Header && !Header.Name) fail("JWT location header name must be specified");
    if (QueryParam && !QueryParam.Name) fail("JWT location query param name must be specified");
    if (Cookie && !Cookie.Name) fail("JWT location cookie name must be specified");
  }
  if (Forwarding && !Forwarding.HeaderName) fail("Header name required for forwarding config");
}

type RemoteKeys = NonNullable<NonNullable<JwtProviderEntry["JSONWebKeySet"]>["Remote"]>;

function checkRemote({ URI = "", JWKSCluster: cluster }: RemoteKeys): void {
  if (URI === "") fail("Remote JWKS URI is required");
  if (!URL.canParse(URI) && !URI.startsWith("/")) fail(`Remote JWKS URI is invalid: want a URL, uri: ${URI}`);
  if (!cluster) return;
  const { DiscoveryType: type, TLSCertificates: certificates } = cluster;
  if (type && !DISCOVERY_TYPES.includes(type)) fail(`unsupported jwks cluster discovery type: ${JSON.stringify(type)}`);
  if (!certificates) return;
  const { CaCertificateProviderInstance: instance, TrustedCA: trusted } = certificates;
  if (!instance === !trusted)
    fail("must specify exactly one of: CaCertificateProviderInstance or TrustedCA for JKWS' TLSCertificates");
  if (trusted && Object.values(trusted).filter((value) => value !== "").length !== 1)
    fail("must specify exactly one of: Filename, EnvironmentVariable, InlineString or InlineBytes for JWKS' TrustedCA");
}

/** What a token must be; `where` names the field. */
export function checkJwt({ Providers = [] }: IntentionJwt, where: string): void {
  if (Providers.length === 0) fail(`${where}.Providers: at least one provider is required`);
  const names = new Set<string>();
  for (const [i, { Name, VerifyClaims }] of Providers.entries()) {
    const provider = `${where}.Providers[${i}]`;
    if (Name === "") fail(`${provider}.Name is required`);
    if (names.has(Name)) fail(`${provider}.Name: ${JSON.stringify(Name)} is there more than once`);
    names.add(Name);
    for (const [j, { Path = [] }] of (VerifyClaims ?? []).entries())
      if (Path.length === 0 || Path.includes(""))
        fail(`${provider}.VerifyClaims[${j}].Path: want the names of a claim, outermost first`);
  }
}
