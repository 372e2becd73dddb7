/**
 * Every command of `heddle`, with one line on each. Modules are imported when their command is run and not before: the
 * time that `heddle agent -dev` takes to be ready begins here.
 */
import type { Command } from "./command.ts";

export type Entry = Group | Leaf | Program;

export interface Group {
  synopsis: string;
  about: string;
  commands: Record<string, Entry>;
}

export interface Leaf {
  synopsis: string;
  load: () => Promise<Command>;
}

/** A daemon: it reads its flags itself. */
export interface Program {
  synopsis: string;
  program: () => Promise<{
    run(argv: string[]): Promise<number>;
    /** What may follow its name, or its help, from which completion takes the flags. */
    words(): string | string[];
  }>;
}

const leaf = (synopsis: string, load: () => Promise<Command>): Leaf => ({ synopsis, load });

export const COMMANDS: Group = {
  synopsis: "",
  about: "",
  commands: {
    agent: {
      synopsis: "Runs an agent: with -dev, everything in one process",
      program: () => import("./commands/agent.ts"),
    },
    catalog: {
      synopsis: "Reads the catalog",
      about:
        "Lists what the catalog knows, of every node. What one agent has registered is a part of it.\n\n    $ heddle catalog services",
      commands: {
        datacenters: leaf(
          "Lists the known datacenters",
          async () => (await import("./commands/catalog.ts")).datacenters,
        ),
        nodes: leaf("Lists the nodes of a datacenter", async () => (await import("./commands/catalog.ts")).nodes),
        services: leaf(
          "Lists the services of a datacenter",
          async () => (await import("./commands/catalog.ts")).services,
        ),
      },
    },
    completion: leaf(
      "Prints completion for bash, zsh or fish",
      async () => (await import("./commands/completion.ts")).completion,
    ),
    config: {
      synopsis: "Manages configuration entries",
      about:
        "Configuration entries hold defaults and routes of services.\n\n    $ heddle config write web.hcl\n    $ heddle config read -kind service-defaults -name web",
      commands: {
        delete: leaf("Deletes an entry", async () => (await import("./commands/config.ts")).remove),
        list: leaf("Lists the entries of a kind", async () => (await import("./commands/config.ts")).list),
        read: leaf("Prints an entry", async () => (await import("./commands/config.ts")).read),
        write: leaf("Creates or replaces an entry", async () => (await import("./commands/config.ts")).write),
      },
    },
    connect: {
      synopsis: "Runs proxies and manages the mesh's certificate authority",
      about: "Works with the mesh.\n\n    $ heddle connect proxy -sidecar-for web",
      commands: {
        ca: {
          synopsis: "Reads and changes the configuration of the certificate authority",
          about: "Works with the certificate authority that issues the services' identities.",
          commands: {
            abort: leaf(
              "Stops the rotation of the root that is under way",
              async () => (await import("./commands/connect-ca-rotation.ts")).abort,
            ),
            csr: leaf(
              "Makes a request for an intermediate certificate",
              async () => (await import("./commands/connect-ca-intermediate.ts")).csr,
            ),
            "get-config": leaf(
              "Shows the CA's configuration",
              async () => (await import("./commands/connect-ca.ts")).getConfig,
            ),
            reinstate: leaf(
              "Lets a revoked service have certificates again",
              async () => (await import("./commands/connect-ca-revoke.ts")).reinstate,
            ),
            revoke: leaf(
              "Has a certificate or a service refused everywhere",
              async () => (await import("./commands/connect-ca-revoke.ts")).revoke,
            ),
            revoked: leaf(
              "Lists what is revoked",
              async () => (await import("./commands/connect-ca-revoke.ts")).revoked,
            ),
            rollback: leaf(
              "Goes back to the root before the last rotation",
              async () => (await import("./commands/connect-ca-rotation.ts")).rollback,
            ),
            rotate: leaf(
              "Replaces the root or the intermediate by another one",
              async () => (await import("./commands/connect-ca-rotation.ts")).rotate,
            ),
            "set-config": leaf(
              "Changes the CA's configuration",
              async () => (await import("./commands/connect-ca.ts")).setConfig,
            ),
            "set-intermediate": leaf(
              "Has an intermediate sign for a root kept elsewhere",
              async () => (await import("./commands/connect-ca-intermediate.ts")).setIntermediate,
            ),
            status: leaf(
              "Shows how far a rotation is, and when roots end",
              async () => (await import("./commands/connect-ca.ts")).status,
            ),
          },
        },
        expose: leaf(
          "Lets an ingress gateway offer a service",
          async () => (await import("./commands/connect-expose.ts")).expose,
        ),
        proxy: {
          synopsis: "Runs a proxy that speaks mutual TLS for a service",
          program: () => import("./commands/connect-proxy.ts"),
        },
      },
    },
    debug: leaf("Records an archive of what an agent does", async () => (await import("./commands/debug.ts")).debug),
    dns: {
      synopsis: "Explains answers of DNS",
      about:
        "Tells which instances are in the answer to a name, and what left the others out.\n\n    $ heddle dns explain web.service.consul SRV",
      commands: {
        explain: leaf("Tells why an answer is as it is", async () => (await import("./commands/dns.ts")).explain),
      },
    },
    event: leaf("Fires a user event", async () => (await import("./commands/event.ts")).event),
    "force-leave": leaf(
      "Makes the cluster forget a node that is gone",
      async () => (await import("./commands/control.ts")).forceLeave,
    ),
    import: {
      synopsis: "Brings what another registry holds",
      about:
        "Reads another registry and writes what it holds to this one.\n\n    $ heddle import consul http://10.0.0.1:8500",
      commands: {
        consul: leaf("Imports from a running Consul", async () => (await import("./commands/import-consul.ts")).consul),
      },
    },
    info: leaf("Shows an agent's figures for operators", async () => (await import("./commands/members.ts")).info),
    intention: {
      synopsis: "Manages who may talk to whom",
      about:
        "Intentions say which service may connect to which.\n\n    $ heddle intention create -deny web db\n    $ heddle intention check web db",
      commands: {
        check: leaf(
          "Says whether one service may connect to another",
          async () => (await import("./commands/intention-read.ts")).check,
        ),
        create: leaf(
          "Creates or replaces intentions",
          async () => (await import("./commands/intention-write.ts")).create,
        ),
        delete: leaf("Deletes an intention", async () => (await import("./commands/intention-write.ts")).remove),
        explain: leaf(
          "Tells why one service may or may not connect to another",
          async () => (await import("./commands/intention-explain.ts")).explainDecision,
        ),
        get: leaf("Shows one intention", async () => (await import("./commands/intention-read.ts")).get),
        list: leaf("Lists all intentions", async () => (await import("./commands/intention-read.ts")).list),
        match: leaf(
          "Lists the intentions of a service, first match first",
          async () => (await import("./commands/intention-read.ts")).match,
        ),
        plan: leaf(
          "Tells which connections a change of rules would cut",
          async () => (await import("./commands/intention-plan.ts")).plan,
        ),
        test: leaf(
          "Tests rules against what is expected of them",
          async () => (await import("./commands/intention-test.ts")).test,
        ),
      },
    },
    join: leaf("Makes an agent join a cluster", async () => (await import("./commands/control.ts")).join),
    keygen: leaf(
      "Makes a gossip key, for scripts that expect one",
      async () => (await import("./commands/keygen.ts")).keygen,
    ),
    keyring: leaf("Manages the keys of gossip", async () => (await import("./commands/keyring.ts")).keyring),
    kv: {
      synopsis: "Reads and writes the key-value store",
      about:
        "Works with the key-value store.\n\n    $ heddle kv put config/connections 5\n    $ heddle kv get config/connections\n    $ heddle kv delete config/connections",
      commands: {
        delete: leaf("Deletes a key or a tree", async () => (await import("./commands/kv-write.ts")).remove),
        export: leaf("Writes a tree as JSON", async () => (await import("./commands/kv-read.ts")).exportTree),
        get: leaf("Reads a value, or lists keys", async () => (await import("./commands/kv-read.ts")).get),
        import: leaf("Reads what `kv export` wrote", async () => (await import("./commands/kv-write.ts")).importTree),
        put: leaf("Writes a value", async () => (await import("./commands/kv-write.ts")).put),
      },
    },
    leave: leaf("Makes an agent leave its cluster and end", async () => (await import("./commands/control.ts")).leave),
    lock: leaf("Runs a program while holding a lock", async () => (await import("./commands/lock.ts")).lock),
    maint: leaf(
      "Puts a node or a service into maintenance mode",
      async () => (await import("./commands/maint.ts")).maint,
    ),
    members: leaf("Lists the nodes of the cluster", async () => (await import("./commands/members.ts")).members),
    monitor: leaf("Follows an agent's log", async () => (await import("./commands/monitor.ts")).monitor),
    operator: {
      synopsis: "Tools for those who run the servers",
      about: "Tools for those who run the servers.",
      commands: {
        autopilot: {
          synopsis: "Shows and changes how the servers look after themselves",
          about: "Autopilot looks after the servers.",
          commands: {
            "get-config": leaf(
              "Shows the configuration",
              async () => (await import("./commands/operator.ts")).getAutopilot,
            ),
            "set-config": leaf(
              "Changes the configuration",
              async () => (await import("./commands/operator.ts")).setAutopilot,
            ),
          },
        },
        migrate: leaf(
          "Moves a mesh between a data directory and etcd",
          async () => (await import("./commands/operator-migrate.ts")).migrate,
        ),
        raft: {
          synopsis: "Shows the servers that hold the state",
          about: "Heddle has no Raft of its own; what it answers describes the servers that really run.",
          commands: {
            "list-peers": leaf("Lists the servers", async () => (await import("./commands/operator.ts")).listPeers),
            "remove-peer": leaf(
              "Removes a server that is gone",
              async () => (await import("./commands/operator.ts")).removePeer,
            ),
          },
        },
      },
    },
    proxy: {
      synopsis: "Shows what the running proxies do",
      about:
        "Asks the proxies of this machine over their admin sockets.\n\n    $ heddle proxy status\n    $ heddle proxy connections -watch",
      commands: {
        config: leaf("Prints what a proxy decides on", async () => (await import("./commands/proxy.ts")).config),
        connections: leaf("Lists open connections", async () => (await import("./commands/proxy.ts")).connections),
        endpoints: leaf("Lists instances of upstreams", async () => (await import("./commands/proxy.ts")).endpoints),
        status: leaf("Shows listeners, identity and threads", async () => (await import("./commands/proxy.ts")).status),
      },
    },
    query: {
      synopsis: "Manages prepared queries",
      about:
        "Prepared queries are looked up by name, over HTTP and DNS.\n\n    $ heddle query create query.json\n    $ heddle query execute web",
      commands: {
        create: leaf("Creates a query from a file", async () => (await import("./commands/query.ts")).create),
        delete: leaf("Deletes a query", async () => (await import("./commands/query.ts")).remove),
        execute: leaf("Executes a query", async () => (await import("./commands/query.ts")).execute),
        explain: leaf(
          "Shows what a template makes of a name",
          async () => (await import("./commands/query.ts")).explainQuery,
        ),
        get: leaf("Shows a query", async () => (await import("./commands/query.ts")).get),
        list: leaf("Lists the queries", async () => (await import("./commands/query.ts")).list),
        update: leaf("Replaces a query by that of a file", async () => (await import("./commands/query.ts")).update),
      },
    },
    reload: leaf(
      "Makes an agent read its configuration again",
      async () => (await import("./commands/control.ts")).reload,
    ),
    rtt: leaf("Estimates the round-trip time between nodes", async () => (await import("./commands/rtt.ts")).rtt),
    serve: { synopsis: "Runs one daemon: catalog, ca, health or dns", program: () => import("./commands/serve.ts") },
    services: {
      synopsis: "Registers and deregisters services",
      about:
        "Works with the services of the local agent. For those of the whole catalog see `heddle catalog`.\n\n    $ heddle services register web.json",
      commands: {
        deregister: leaf(
          "Deregisters services from the local agent",
          async () => (await import("./commands/services.ts")).deregister,
        ),
        drain: leaf(
          "Takes a service out without cutting its callers off",
          async () => (await import("./commands/services-drain.ts")).drain,
        ),
        register: leaf(
          "Registers services with the local agent",
          async () => (await import("./commands/services.ts")).register,
        ),
      },
    },
    session: {
      synopsis: "Manages the sessions that hold locks",
      about:
        "A session stands for whoever holds a lock; its locks go when it ends.\n\n    $ heddle session create -name=backup -ttl=30s",
      commands: {
        create: leaf("Creates a session", async () => (await import("./commands/session.ts")).create),
        destroy: leaf("Ends a session", async () => (await import("./commands/session.ts")).destroy),
        info: leaf("Shows a session", async () => (await import("./commands/session.ts")).info),
        list: leaf("Lists the sessions", async () => (await import("./commands/session.ts")).list),
        renew: leaf("Renews a session", async () => (await import("./commands/session.ts")).renew),
      },
    },
    snapshot: {
      synopsis: "Saves, restores and inspects the servers' state",
      about:
        "A snapshot is the state of the servers as a file.\n\n    $ heddle snapshot save backup.snap\n    $ heddle snapshot inspect backup.snap\n    $ heddle snapshot restore backup.snap",
      commands: {
        inspect: leaf("Shows what a snapshot is of", async () => (await import("./commands/snapshot.ts")).inspect),
        restore: leaf("Restores a snapshot", async () => (await import("./commands/snapshot.ts")).restore),
        save: leaf("Saves a snapshot", async () => (await import("./commands/snapshot.ts")).save),
      },
    },
    tls: {
      synopsis: "Makes the certificates of the internal API",
      about:
        "Makes a CA and certificates by which the daemons know each other. They have nothing to do with the mesh's own.\n\n    $ heddle tls ca create\n    $ heddle tls cert create -role catalog",
      commands: {
        ca: {
          synopsis: "Makes a CA",
          about: "Works with the CA of the internal API.",
          commands: {
            create: leaf("Makes a CA for the internal API", async () => (await import("./commands/tls.ts")).createCa),
          },
        },
        cert: {
          synopsis: "Makes certificates",
          about: "Works with certificates of the internal API.",
          commands: {
            create: leaf(
              "Makes certificates for daemons",
              async () => (await import("./commands/tls.ts")).createCertificates,
            ),
          },
        },
      },
    },
    token: {
      synopsis: "Lets nodes join the mesh",
      about: "Works with the tokens by which nodes join. On a server.\n\n    $ heddle token join",
      commands: {
        join: leaf("Prints a line for 'heddle agent -join'", async () => (await import("./commands/token.ts")).join),
        list: leaf("Lists join tokens, or joined nodes", async () => (await import("./commands/token.ts")).list),
        revoke: leaf("Revokes a join token, or a node", async () => (await import("./commands/token.ts")).revoke),
      },
    },
    validate: leaf(
      "Checks configuration files and directories",
      async () => (await import("./commands/validate.ts")).validate,
    ),
    version: leaf("Prints the version", async () => (await import("./commands/version.ts")).version),
    watch: leaf("Runs a program when the data has changed", async () => (await import("./commands/watch.ts")).watch),
  },
};
