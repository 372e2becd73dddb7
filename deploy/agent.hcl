# Both nodes' agent: the catalog and the CA are daemons elsewhere, reached with mutual TLS; the health checker is in this
# node's network namespace. The API, which hands out keys, stays on loopback: only the metrics are open to the network.
data_dir = "/var/lib/heddle"
log_json = true

ca_file   = "/tls/heddle-ca.pem"
cert_file = "/tls/dc1-agent.pem"
key_file  = "/tls/dc1-agent-key.pem"

heddle {
  catalog_addr = "https://catalog:8300"
  ca_addr      = "https://ca:8310"
  health_addr  = "http://127.0.0.1:8320"
  metrics_host = "0.0.0.0"
  metrics_port = 9400
}

ports {
  dns = -1 # a daemon of its own
}

# A node that is restarted is still there.
leave_on_terminate = false
