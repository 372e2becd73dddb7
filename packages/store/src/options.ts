/** The options by which a daemon is told where its records are. */
import { option } from "@heddle/daemon";

export const STORE_OPTIONS = {
  store: option.string("etcd://HOST:PORT,…/PREFIX keeps records in etcd instead (etcds: with TLS)."),
  storeCaFile: option.string("CA certificates of etcd (PEM); the system's by default."),
  storeCertFile: option.string("Certificate to show to etcd (PEM)."),
  storeKeyFile: option.string("Its key (PEM)."),
  storeUser: option.string("User of etcd's own authentication."),
  storePasswordFile: option.string("File with that user's password."),
};
