/**
 * Tells the other servers of a kind what this one was told. For what is said again soon in any case: a server that is away misses it and
 * hears the next.
 */
import { describeError, type Logger } from "@heddle/daemon";
import { type ApiClient, createApiClient } from "./client.ts";
import type { TlsSource } from "./transport.ts";

const MAX_UNDER_WAY = 64; // requests to one server; what comes beyond is left out

export interface RelayOptions {
  /** "host:port" of the others, as they are now. */
  others: () => readonly string[];
  /** This end of mutual TLS; plain text without it. */
  tls: TlsSource | undefined;
  log: Logger;
}

export interface Relay extends Disposable {
  /** PUTs it to each of them, and waits for none. */
  tell: (path: string, body: unknown) => void;
}

interface Link {
  client: ApiClient;
  underWay: number;
  /** Whether it was logged that this one does not answer. */
  isAway: boolean;
}

export function createRelay({ others, tls, log }: RelayOptions): Relay {
  const links = new Map<string, Link>();
  const linkTo = (address: string): Link => {
    let link = links.get(address);
    if (!link) {
      const client = createApiClient({ address: `${tls ? "https" : "http"}://${address}`, tls });
      links.set(address, (link = { client, underWay: 0, isAway: false }));
    }
    return link;
  };
  const tellOne = async (address: string, path: string, body: string): Promise<void> => {
    const link = linkTo(address);
    if (link.underWay >= MAX_UNDER_WAY) return;
    link.underWay++;
    try {
      await link.client.put(path, { body });
      link.isAway = false;
    } catch (error) {
      if (!link.isAway)
        log.info("cannot tell another server, going on", { server: address, error: describeError(error) });
      link.isAway = true;
    } finally {
      link.underWay--;
    }
  };
  return {
    tell(path, body) {
      const addresses = others();
      for (const [address, { client }] of links) {
        if (addresses.includes(address)) continue;
        client.close();
        links.delete(address);
      }
      if (addresses.length === 0) return;
      const text = JSON.stringify(body);
      for (const address of addresses) void tellOne(address, path, text);
    },
    [Symbol.dispose]() {
      for (const { client } of links.values()) client.close();
      links.clear();
    },
  };
}
