/** Limits of the control plane, each with a name. */

/** Largest body of a request, in bytes, where a route has no limit of its own. */
export const BODY_BYTES_MAX = 1024 * 1024;
/** Of a purge: 10,000 URLs of a usual length. */
export const PURGE_BODY_BYTES_MAX = 8 * 1024 * 1024;
/** Of a plan or an application of many sites. */
export const DEPLOY_BODY_BYTES_MAX = 64 * 1024 * 1024;
/** Largest config of one site as text, in characters. */
export const SITE_CHARS_MAX = 1024 * 1024;
/** Sites that one fleet has. */
export const SITES_MAX = 100_000;
/** Versions of a site that are kept: the oldest that are not active go. */
export const VERSIONS_KEPT_MAX = 1_000;
/** Differences that are listed of one site. */
export const DIFFERENCES_MAX = 200;

/** Entries of a list in one answer: unless asked for otherwise, and at most. */
export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 500;

/** Entries of the change log, and their targets together, that are kept for nodes that were away. */
export const CHANGES_KEPT_MAX = 20_000;
export const CHANGE_TARGETS_KEPT_MAX = 5_000_000;
/** Appended entries between two looks at those limits. */
export const TRIM_EVERY = 100;
/** Snapshots and purges that can be asked for. */
export const SNAPSHOTS_KEPT_MAX = 1_000;
export const PURGES_KEPT_MAX = 10_000;
/** Answers that are kept for repeated requests with the same idempotency key: how many, and for how long. */
export const IDEMPOTENT_KEPT_MAX = 10_000;
export const IDEMPOTENT_KEPT_MS = 24 * 3_600_000;

/** Nodes of a fleet, and requests for changes that may wait at the same time. */
export const NODES_MAX = 5_000;
export const POLLS_MAX = 2 * NODES_MAX;
/** API tokens that are not revoked. */
export const TOKENS_MAX = 10_000;
/** How long a join token is good for: unless asked for otherwise, and at most, in seconds. */
export const JOIN_SECONDS_DEFAULT = 3_600;
export const JOIN_SECONDS_MAX = 7 * 86_400;
/** How long an old token may stay good beside the one it was rotated to, in seconds. */
export const ROTATE_OVERLAP_SECONDS_MAX = 7 * 86_400;

/** Longest wait for the nodes to take a moved clock, and how often one looks, in milliseconds. */
export const CLOCK_WAIT_MS_MAX = 10_000;
export const CLOCK_LOOK_EVERY_MS = 5;

/** Longest wait for a purge in one request, in seconds. */
export const PURGE_WAIT_SECONDS_MAX = 60;

/** Requests a second of one token, and how many it may have saved up. */
export const READS_PER_SECOND = 100;
export const READS_BURST = 500;
export const WRITES_PER_SECOND = 50;
export const WRITES_BURST = 250;
/** Of a node: it asks again as soon as it has an answer, and must not fall behind in a storm of purges. */
export const NODE_PER_SECOND = 1_000;
export const NODE_BURST = 5_000;
/** Requests of one address that were refused for their token, before it has to wait. */
export const REFUSALS_PER_SECOND = 1;
export const REFUSALS_BURST = 20;
/** Tokens, nodes and addresses whose rates are known at the same time. */
export const RATES_MAX = 20_000;

/** Refusals of one address that get an entry of their own in the audit log, in one window; more are counted. */
export const REFUSALS_AUDITED_MAX = 20;
export const REFUSAL_WINDOW_MS = 60_000;
/** Addresses that are told apart in a window; the others are counted together. */
export const REFUSAL_ADDRESSES_MAX = 1_000;

/** Push zones of one fleet, and hashes that one request asks for. */
export const ZONES_MAX = 10_000;
export const ZONE_HASHES_MAX = 10_000;
/** Between two looks for content of zones that nothing needs any more, in milliseconds. */
export const ZONE_COLLECT_EVERY_MS = 3_600_000;
/** Roll-outs that are under way at the same time, and ended ones that can be asked for. */
export const ROLLOUTS_OPEN_MAX = 50;
export const ROLLOUTS_KEPT_MAX = 1_000;
/** Stages of one roll-out, and nodes that its first stage may name. */
export const ROLLOUT_STAGES_MAX = 20;
export const ROLLOUT_NODES_MAX = 500;
/** How long a stage is watched before the next: unless asked for otherwise, and at most, in seconds. */
export const HOLD_SECONDS_DEFAULT = 60;
export const HOLD_SECONDS_MAX = 7 * 86_400;
/** How long nodes have to put a stage in force, in seconds. */
export const APPLY_SECONDS_DEFAULT = 60;
export const APPLY_SECONDS_MAX = 3_600;
/** Share of requests that may fail, on nodes with the new version. */
export const ERROR_RATE_DEFAULT = 0.05;
/** How many times as often as without the new version. */
export const ERROR_INCREASE_DEFAULT = 2;
/** A difference below this share of the requests, or of fewer errors, is chance. */
export const ERROR_MARGIN = 0.01;
export const ERRORS_MIN = 5;
/** Requests without which nothing is concluded. */
export const ROLLOUT_REQUESTS_MIN_DEFAULT = 50;
/** Share of a stage's nodes that may go silent without its being the version's fault. */
export const LOST_NODES_SHARE = 0.05;
/** Hooks and webhooks of a fleet. */
export const HOOKS_MAX = 10_000;
export const WEBHOOKS_MAX = 1_000;
/** Largest message to a hook, in bytes. */
export const HOOK_BODY_BYTES_MAX = 1024 * 1024;
/** Messages of hooks that are remembered, so that none counts twice: how many, and for how long. */
export const HOOK_MESSAGES_KEPT_MAX = 100_000;
export const HOOK_MESSAGES_KEPT_MS = 24 * 3_600_000;
/** Good messages a second to one hook, and how many it may have saved up. */
export const HOOK_PER_SECOND = 20;
export const HOOK_BURST = 200;
/** Deliveries to one webhook that wait, and ended ones that can be asked for. */
export const DELIVERIES_WAITING_MAX = 10_000;
export const DELIVERIES_KEPT_MAX = 1_000;
/** Deliveries under way at the same time, one to each webhook. */
export const DELIVERIES_AT_ONCE_MAX = 8;
/** Waits before a delivery is tried again, in milliseconds: a day in all, then it is given up. */
export const DELIVERY_RETRIES_MS: readonly number[] = [
  5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 28_800_000, 28_800_000,
];
/** Questions about what is stored that are open, sites that one plan asks about, and how long it waits, in seconds. */
export const SURVEYS_MAX = 200;
export const SURVEYED_SITES_MAX = 20;
export const SURVEY_SECONDS_MAX = 20;
/** How often open roll-outs and silent nodes are looked at, in milliseconds. */
export const LOOK_EVERY_MS = 1_000;
