/**
 * The token of the local CI mode. It is no secret: tests, containers and vendors' clients have it in their
 * config before anything runs. A control plane takes it on loopback alone, for data that lives as long as
 * the process; whoever can reach that may start a program on this machine anyway.
 */

/** May do everything, in the local CI mode and nowhere else. */
export const CI_TOKEN = "pxa_c1c1c1c1c1c1_only-for-ci-on-loopback-no-secret-known-all";

/** The same as an access key, for clients that sign (AWS, Akamai). */
export const CI_ACCESS_KEY = {
  accessKeyId: "PXAKC1C1C1C1C1C1",
  secretAccessKey: CI_TOKEN.slice("pxa_c1c1c1c1c1c1_".length),
} as const;
