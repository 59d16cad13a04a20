/**
 * The API of the control plane as types. Made from src/control/api by `npm run generate`: change it there.
 */

/** Every route, by method and path. */
export interface Routes {
  /** Lists sites by id. */
  "GET /v1/sites": {
    params: {};
    query: { "limit"?: string | number | undefined; "after"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Site)[];
      next: string | null;
    };
  };
  /** Makes a site; a config that comes with it is its draft. */
  "POST /v1/sites": {
    params: {};
    query: {};
    body: {
      id: string;
      config?: SiteConfig | undefined;
    };
    answer: {
      site: Site;
      problems: (ConfigProblem)[];
    };
  };
  /** Shows a site. */
  "GET /v1/sites/{site}": {
    params: { "site": string | number };
    query: {};
    body: undefined;
    answer: Site;
  };
  /** Ends a site. Its id is never used again. If-Match makes it conditional. */
  "DELETE /v1/sites/{site}": {
    params: { "site": string | number };
    query: {};
    body: undefined;
    answer: undefined;
  };
  /** Shows the draft. */
  "GET /v1/sites/{site}/draft": {
    params: { "site": string | number };
    query: {};
    body: undefined;
    answer: unknown;
  };
  /** Takes a draft, which may be anything, and says what is wrong with it. If-Match makes it conditional. */
  "PUT /v1/sites/{site}/draft": {
    params: { "site": string | number };
    query: {};
    body: SiteConfig;
    answer: {
      site: Site;
      problems: (ConfigProblem)[];
    };
  };
  /** Lists versions, the newest first. */
  "GET /v1/sites/{site}/versions": {
    params: { "site": string | number };
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Version)[];
      next: string | null;
    };
  };
  /** Makes a version of the draft or of the config given. It must be valid, and never changes. */
  "POST /v1/sites/{site}/versions": {
    params: { "site": string | number };
    query: {};
    body: {
      /** Left out: the draft. */
      config?: SiteConfig | undefined;
      /** Why, for people. */
      note?: string | undefined;
    };
    answer: {
      version: Version;
      warnings: (ConfigProblem)[];
    };
  };
  /** Shows a version with its config. */
  "GET /v1/sites/{site}/versions/{version}": {
    params: { "site": string | number; "version": string | number };
    query: {};
    body: undefined;
    answer: unknown;
  };
  /** Compares two versions; left out, the active one with the draft. */
  "GET /v1/sites/{site}/diff": {
    params: { "site": string | number };
    query: { "from"?: string | number | undefined; "to"?: string | number | undefined };
    body: undefined;
    answer: {
      from: string;
      to: string;
      differences: (Difference)[];
      more: number;
    };
  };
  /** Puts a version in force on every node, as a new snapshot. If-Match makes it conditional. */
  "POST /v1/sites/{site}/activate": {
    params: { "site": string | number };
    query: {};
    body: {
      version: number;
      /** Left out: on every node at once. */
      rollout?: RolloutRequest | undefined;
    };
    answer: {
      site: Site;
      /** Null when it was active already, and with a roll-out. */
      snapshot: Snapshot | null;
      rollout: Rollout | null;
    };
  };
  /** Puts the version in force that was before. If-Match makes it conditional. */
  "POST /v1/sites/{site}/rollback": {
    params: { "site": string | number };
    query: {};
    body: Record<string, never>;
    answer: {
      site: Site;
      /** Null when it was active already, and with a roll-out. */
      snapshot: Snapshot | null;
      rollout: Rollout | null;
    };
  };
  /** Says what an application would do, and does nothing. */
  "POST /v1/plan": {
    params: {};
    query: {};
    body: {
      sites: Record<string, SiteConfig>;
      /** Ends sites that are active and not named. */
      prune?: boolean | undefined;
      /** Nothing is done when another one is in force. */
      expectedSnapshot?: number | undefined;
      /** Left out: on every node at once. */
      rollout?: RolloutRequest | undefined;
      /** Why, for people. */
      note?: string | undefined;
      /** Asks the nodes how much of what they have stored the changed sites would never find again (up to 20 sites, 20 seconds). */
      orphans?: boolean | undefined;
    };
    answer: Plan;
  };
  /** Makes versions of what is different and puts all of them in force in one snapshot, or nothing. */
  "POST /v1/apply": {
    params: {};
    query: {};
    body: {
      sites: Record<string, SiteConfig>;
      /** Ends sites that are active and not named. */
      prune?: boolean | undefined;
      /** Nothing is done when another one is in force. */
      expectedSnapshot?: number | undefined;
      /** Left out: on every node at once. */
      rollout?: RolloutRequest | undefined;
      /** Why, for people. */
      note?: string | undefined;
    };
    answer: {
      plan: Plan;
      /** Null when there was nothing to do, and with a roll-out. */
      snapshot: Snapshot | null;
      rollout: Rollout | null;
    };
  };
  /** Lists snapshots, the newest first. */
  "GET /v1/snapshots": {
    params: {};
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Snapshot)[];
      next: string | null;
    };
  };
  /** A snapshot with the configs of its sites: what nodes get. */
  "GET /v1/snapshots/{number}": {
    params: { "number": string | number };
    query: {};
    body: undefined;
    answer: unknown;
  };
  /** Lists roll-outs, the newest first. */
  "GET /v1/rollouts": {
    params: {};
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Rollout)[];
      next: string | null;
    };
  };
  /** Shows a roll-out: its stage, its nodes, what was counted, what happened. */
  "GET /v1/rollouts/{id}": {
    params: { "id": string | number };
    query: {};
    body: undefined;
    answer: Rollout;
  };
  /** Has it stay in its stage. It still goes back by itself. */
  "POST /v1/rollouts/{id}/pause": {
    params: { "id": string | number };
    query: {};
    body: Record<string, never>;
    answer: Rollout;
  };
  /** Takes that back. */
  "POST /v1/rollouts/{id}/resume": {
    params: { "id": string | number };
    query: {};
    body: Record<string, never>;
    answer: Rollout;
  };
  /** Goes on to the next stage now, or to the end. */
  "POST /v1/rollouts/{id}/promote": {
    params: { "id": string | number };
    query: {};
    body: {
      /** To the end at once, not to the next stage. */
      all?: boolean | undefined;
    };
    answer: Rollout;
  };
  /** Ends it: every node goes back to the versions of before. */
  "POST /v1/rollouts/{id}/abort": {
    params: { "id": string | number };
    query: {};
    body: Record<string, never>;
    answer: Rollout;
  };
  /** Purges on every node. Without wait it answers when the order is safe in the log. */
  "POST /v1/purges": {
    params: {};
    query: { "wait"?: "applied" | "counted" | undefined; "seconds"?: string | number | undefined };
    body: {
      site?: string | undefined;
      scope: "url" | "prefix" | "wildcard" | "host" | "tag" | "everything";
      urls?: (string)[] | undefined;
      prefixes?: (string)[] | undefined;
      patterns?: (string)[] | undefined;
      hosts?: (string)[] | undefined;
      tags?: (string)[] | undefined;
      mode?: "hard" | "soft" | undefined;
      idempotencyKey?: string | undefined;
    };
    answer: Purge;
  };
  /** Lists purges, the newest first. */
  "GET /v1/purges": {
    params: {};
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Purge)[];
      next: string | null;
    };
  };
  /** Shows a purge, node by node, by its id or the one that a vendor's API answered. */
  "GET /v1/purges/{id}": {
    params: { "id": string | number };
    query: { "wait"?: "applied" | "counted" | undefined; "seconds"?: string | number | undefined };
    body: undefined;
    answer: Purge;
  };
  /** Lists nodes by name. */
  "GET /v1/nodes": {
    params: {};
    query: { "limit"?: string | number | undefined; "after"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Node)[];
      next: string | null;
    };
  };
  /** Shows a node, by id or name. */
  "GET /v1/nodes/{node}": {
    params: { "node": string | number };
    query: {};
    body: undefined;
    answer: Node;
  };
  /** Removes a node: its credential is good for nothing any more. It keeps serving what it has. */
  "DELETE /v1/nodes/{node}": {
    params: { "node": string | number };
    query: {};
    body: undefined;
    answer: Node;
  };
  /** Has a node say that it is not ready, so that no new viewers are sent to it; it goes on to serve. */
  "POST /v1/nodes/{node}/drain": {
    params: { "node": string | number };
    query: {};
    body: Record<string, never>;
    answer: Node;
  };
  /** Takes that back. */
  "POST /v1/nodes/{node}/resume": {
    params: { "node": string | number };
    query: {};
    body: Record<string, never>;
    answer: Node;
  };
  /** Makes a token by which one node can join. */
  "POST /v1/join-tokens": {
    params: {};
    query: {};
    body: {
      validSeconds?: number | undefined;
    };
    answer: {
      id: string;
      /** Shown this once, good once. */
      secret: string;
      expiresAt: string;
    };
  };
  /** Lists push zones. */
  "GET /v1/zones": {
    params: {};
    query: {};
    body: undefined;
    answer: {
      items: (Zone)[];
      next: string | null;
    };
  };
  /** Makes a push zone. */
  "POST /v1/zones": {
    params: {};
    query: {};
    body: {
      name: string;
      /** The only site that may show it. Left out: any. */
      site?: string | null | undefined;
      /** File that is served for a folder. */
      indexDocument?: string | undefined;
      /** File that is served with 404, such as "404.html". */
      errorDocument?: string | null | undefined;
      keepReleases?: number | undefined;
      /** Whether every node asks for new files ahead of viewers, by the host names that sites name in full. */
      preposition?: boolean | undefined;
    };
    answer: Zone;
  };
  /** A push zone. */
  "GET /v1/zones/{zone}": {
    params: { "zone": string | number };
    query: {};
    body: undefined;
    answer: Zone;
  };
  /** Ends a push zone that no active site shows, with everything in it. */
  "DELETE /v1/zones/{zone}": {
    params: { "zone": string | number };
    query: {};
    body: undefined;
    answer: {
      name: string;
    };
  };
  /** Of these SHA-256, those whose content has to be uploaded; the others stay for a day. */
  "POST /v1/zones/{zone}/missing": {
    params: { "zone": string | number };
    query: {};
    body: {
      hashes: (string)[];
    };
    answer: {
      missing: (string)[];
    };
  };
  /** Releases of a zone, the newest first. */
  "GET /v1/zones/{zone}/releases": {
    params: { "zone": string | number };
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Release)[];
      next: string | null;
    };
  };
  /** Makes a release of content that was uploaded, and makes it current in one step unless told otherwise. */
  "POST /v1/zones/{zone}/releases": {
    params: { "zone": string | number };
    query: {};
    body: {
      files: ({
        path: string;
        hash: string;
        bytes: number;
        /** Content type. Left out: by the name. */
        type?: string | undefined;
      })[];
      note?: string | undefined;
      activate?: boolean | undefined;
    };
    answer: {
      release: Release;
      changedCount: number;
      removedCount: number;
      /** Paths with other content than before; the first of them. */
      changed: (string)[];
      removed: (string)[];
      /** Purges that tell the edges, one for each site that shows the zone. */
      purges: (string)[];
    };
  };
  /** Makes a release that is kept current, in one step. */
  "POST /v1/zones/{zone}/releases/{number}/activate": {
    params: { "zone": string | number; "number": string | number };
    query: {};
    body: undefined;
    answer: {
      release: Release;
      changedCount: number;
      removedCount: number;
      /** Paths with other content than before; the first of them. */
      changed: (string)[];
      removed: (string)[];
      /** Purges that tell the edges, one for each site that shows the zone. */
      purges: (string)[];
    };
  };
  /** Makes the older release current that was so before. */
  "POST /v1/zones/{zone}/rollback": {
    params: { "zone": string | number };
    query: {};
    body: undefined;
    answer: {
      release: Release;
      changedCount: number;
      removedCount: number;
      /** Paths with other content than before; the first of them. */
      changed: (string)[];
      removed: (string)[];
      /** Purges that tell the edges, one for each site that shows the zone. */
      purges: (string)[];
    };
  };
  /** Lists hooks by name, without their secrets. */
  "GET /v1/hooks": {
    params: {};
    query: { "limit"?: string | number | undefined; "after"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Hook)[];
      next: string | null;
    };
  };
  /** Shows a hook, without its secret. */
  "GET /v1/hooks/{name}": {
    params: { "name": string | number };
    query: {};
    body: undefined;
    answer: Hook;
  };
  /** Makes a hook, whose secret is shown this once, or gives one other rules. */
  "PUT /v1/hooks/{name}": {
    params: { "name": string | number };
    query: {};
    body: HookConfig;
    answer: {
      hook: Hook;
      /** Shown this once. */
      secret: string | null;
    };
  };
  /** Ends a hook. */
  "DELETE /v1/hooks/{name}": {
    params: { "name": string | number };
    query: {};
    body: undefined;
    answer: undefined;
  };
  /** Takes a message, signed with the hook's secret in place of a token. */
  "POST /v1/hooks/{name}": {
    params: { "name": string | number };
    query: { "dryRun"?: "0" | "1" | undefined };
    body: unknown;
    answer: HookAnswer;
  };
  /** Makes another secret. */
  "POST /v1/hooks/{name}/rotate": {
    params: { "name": string | number };
    query: {};
    body: {
      /** How long the old one stays good. */
      overlapSeconds?: number | undefined;
    };
    answer: {
      hook: Hook;
      /** Shown this once. */
      secret: string | null;
    };
  };
  /** Says what a message would purge. The body is the message, and need not be signed. */
  "POST /v1/hooks/{name}/test": {
    params: { "name": string | number };
    query: {};
    body: unknown;
    answer: HookAnswer;
  };
  /** Lists webhooks, without their secrets. */
  "GET /v1/webhooks": {
    params: {};
    query: {};
    body: undefined;
    answer: {
      items: (Webhook)[];
      next: string | null;
    };
  };
  /** Makes a webhook. Its secret is shown this once. */
  "POST /v1/webhooks": {
    params: {};
    query: {};
    body: {
      name: string;
      url: string;
      events?: ("purge.applied" | "version.active" | "rollout.started" | "rollout.completed" | "rollout.rolledBack" | "rollout.aborted" | "origin.failover" | "origin.recovery" | "node.unreachable" | "node.reachable")[] | undefined;
      /** Only events of these. Left out: all, and those of the fleet. */
      sites?: (string)[] | null | undefined;
    };
    answer: {
      webhook: Webhook;
      /** Shown this once. */
      secret: string;
    };
  };
  /** Shows a webhook, without its secret. */
  "GET /v1/webhooks/{id}": {
    params: { "id": string | number };
    query: {};
    body: undefined;
    answer: Webhook;
  };
  /** Ends a webhook, with what waits for it. */
  "DELETE /v1/webhooks/{id}": {
    params: { "id": string | number };
    query: {};
    body: undefined;
    answer: undefined;
  };
  /** Has a test delivered: the delivery's state says how that went. */
  "POST /v1/webhooks/{id}/test": {
    params: { "id": string | number };
    query: {};
    body: Record<string, never>;
    answer: Delivery;
  };
  /** Lists deliveries, the newest first; state=dead: those that were given up. */
  "GET /v1/webhooks/{id}/deliveries": {
    params: { "id": string | number };
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined; "state"?: "waiting" | "delivered" | "dead" | undefined };
    body: undefined;
    answer: {
      items: (Delivery)[];
      next: string | null;
    };
  };
  /** Has a delivery sent again. */
  "POST /v1/webhooks/{id}/deliveries/{delivery}/retry": {
    params: { "id": string | number; "delivery": string | number };
    query: {};
    body: Record<string, never>;
    answer: Delivery;
  };
  /** Lists tokens, without their secrets. */
  "GET /v1/tokens": {
    params: {};
    query: { "limit"?: string | number | undefined; "after"?: string | number | undefined };
    body: undefined;
    answer: {
      items: (Token)[];
      next: string | null;
    };
  };
  /** Makes a token. Its secret is shown this once. */
  "POST /v1/tokens": {
    params: {};
    query: {};
    body: {
      name: string;
      scopes: ("read" | "purge" | "deploy" | "admin" | "metrics")[];
      /** Left out: all sites. */
      sites?: (string)[] | null | undefined;
      /** Hosts that it may give to sites, such as "*.shop.example". Left out: for some sites, what they have already; for all sites, any but "*", and any at all with the scope admin. */
      hosts?: (string)[] | null | undefined;
      /** Left out: it does not expire. */
      expiresInSeconds?: number | undefined;
      /** An access key: its secret also signs requests (AWS SigV4), and is kept, sealed, for that. */
      accessKey?: boolean | undefined;
    };
    answer: {
      token: Token;
      /** Shown this once. */
      secret: string;
      /** Of an access key: what to sign with, beside token.accessKeyId. Shown this once. */
      secretAccessKey?: string | undefined;
    };
  };
  /** Makes a token in place of another. */
  "POST /v1/tokens/{id}/rotate": {
    params: { "id": string | number };
    query: {};
    body: {
      /** How long the old one stays good. */
      overlapSeconds?: number | undefined;
    };
    answer: {
      token: Token;
      /** Shown this once. */
      secret: string;
      /** Of an access key: what to sign with, beside token.accessKeyId. Shown this once. */
      secretAccessKey?: string | undefined;
    };
  };
  /** Revokes a token, at once. */
  "DELETE /v1/tokens/{id}": {
    params: { "id": string | number };
    query: {};
    body: undefined;
    answer: Token;
  };
  /** Who did or tried what, when, from where; the newest first. */
  "GET /v1/audit": {
    params: {};
    query: { "limit"?: string | number | undefined; "before"?: string | number | undefined; "actor"?: string | number | undefined; "outcome"?: "done" | "refused" | undefined };
    body: undefined;
    answer: {
      items: (AuditEntry)[];
      next: string | null;
    };
  };
  /** Joins the fleet, with a join token as bearer token. The credential is shown this once. */
  "POST /v1/join": {
    params: {};
    query: {};
    body: {
      name: string;
      version: string;
    };
    answer: {
      node: string;
      credential: string;
      logKey?: string | undefined;
    };
  };
  /** The fleet's log behind a place, up to 1000 entries. 409: the log does not have the place. */
  "GET /v1/changes": {
    params: {};
    query: { "after": string | number; "digest": string | number; "wait"?: string | number | undefined };
    body: undefined;
    answer: {
      log: string;
      head: number;
      changes: ({
        sequence: number;
        acceptedMs: number;
        digest: string;
        body: {
          kind: string;
        };
      })[];
      drained: boolean;
    };
  };
  /** The newest place of the log, for a node that begins anew. */
  "GET /v1/changes/head": {
    params: {};
    query: {};
    body: undefined;
    answer: {
      log: string;
      head: number;
      digest: string;
      snapshot: number | null;
      logKey?: string | undefined;
      clock?: {
        offsetMs: number;
        frozenAtMs: number | null;
      } | undefined;
    };
  };
}

/** Goes to some of the nodes first, and back by itself. */
export type RolloutRequest = {
  /** Percentages of the nodes. */
  stages?: (number)[] | undefined;
  /** Nodes that get it before any percentage, by name or id. */
  nodes?: (string)[] | undefined;
  /** How long a stage is watched before the next. */
  holdSeconds?: number | undefined;
  /** How long nodes have to put it in force. */
  applySeconds?: number | undefined;
  /** Share of requests that may end in 5xx or break off where it is in force. */
  maxErrorRate?: number | undefined;
  /** How many times as often as on the other nodes, and as before. */
  maxErrorIncrease?: number | undefined;
  /** Requests without which nothing is concluded. */
  minRequests?: number | undefined;
};

/** Something wrong or doubtful in a config. */
export type ConfigProblem = {
  path: string;
  message: string;
  severity: "error" | "warning";
};

export type AuditEntry = {
  sequence: number;
  at: string;
  actor: string;
  actorName: string;
  address: string;
  action: string;
  target: string;
  outcome: "done" | "refused";
  detail: string;
};

export type Delivery = {
  id: string;
  type: string;
  state: "waiting" | "delivered" | "dead";
  createdAt: string;
  attempts: number;
  nextAttemptAt: string | null;
  endedAt: string | null;
  problem: string | null;
};

export type Difference = {
  path: string;
  kind: "added" | "removed" | "changed";
  before?: unknown | undefined;
  after?: unknown | undefined;
};

export type Hook = {
  site: string;
  /** Ways to sign that it takes. hub (X-Hub-Signature-256) knows no time: a recorded message is good again. */
  signatures: ("standard" | "proxima" | "hub")[];
  rules: ({
    /** Values, by path: all must be there. Left out: any message. */
    when?: Record<string, string | number | boolean | null | (string | number | boolean | null)[]> | undefined;
    urls?: (string)[] | undefined;
    prefixes?: (string)[] | undefined;
    tags?: (string)[] | undefined;
    everything?: true | undefined;
    mode: "hard" | "soft";
  })[];
  name: string;
  createdAt: string;
  createdBy: string;
  usedAt: string | null;
};

export type HookAnswer = {
  /** Rules that fit. */
  matched: number;
  purges: ({
    site: string;
    scope: "url" | "prefix" | "tag" | "everything";
    mode: "hard" | "soft";
    /** The first of them; all of them when it was only tried. */
    targets: (string)[];
    targetCount: number;
  })[];
  /** Of the purges, in their order. */
  ids: (string)[];
  /** Why templates made nothing. */
  skipped: (string)[];
  dryRun: boolean;
  /** It came before: nothing was done now. */
  repeated: boolean;
};

export type HookConfig = {
  site: string;
  /** Ways to sign that it takes. hub (X-Hub-Signature-256) knows no time: a recorded message is good again. */
  signatures?: ("standard" | "proxima" | "hub")[] | undefined;
  rules: ({
    /** Values, by path: all must be there. Left out: any message. */
    when?: Record<string, string | number | boolean | null | (string | number | boolean | null)[]> | undefined;
    urls?: (string)[] | undefined;
    prefixes?: (string)[] | undefined;
    tags?: (string)[] | undefined;
    everything?: true | undefined;
    mode?: "hard" | "soft" | undefined;
  })[];
};

export type Node = {
  id: string;
  name: string;
  joinedAt: string;
  address: string | null;
  state: "reachable" | "unreachable" | "removed";
  drained: boolean;
  seenAt: string | null;
  /** The newest entry of the log that it has applied. */
  applied: number;
  report: {
    version: string;
    snapshot: {
      number: number;
      problem: string | null;
      refused?: number | null | undefined;
    };
    applied: number;
    ready: {
      ready: boolean;
      reasons: (string)[];
    };
    load: {
      requests: number;
      requestsInFlight: number;
      hitRatio: number | null;
      storeBytes: number;
      memoryBytes: number;
      uptimeSeconds: number;
    };
    counted: ({
      sequence: number;
      objects: number;
    })[];
    rollouts?: ({
      rollout: string;
      arm: "candidate" | "base";
      problem: string | null;
      sinceMs: number;
      counts: {
        requests: number;
        errors: number;
      };
      before: {
        requests: number;
        errors: number;
      };
    })[] | undefined;
    orphans?: ({
      id: string;
      behaviors: ({
        path: string;
        stored: number;
        orphaned: number;
      })[];
    })[] | undefined;
    originsOut?: ({
      site: string;
      origin: string;
      reason: string;
    })[] | undefined;
  } | null;
};

export type Plan = {
  snapshot: number;
  changes: ({
    site: string;
    action: "create" | "update" | "delete" | "none";
    from: number | null;
    differences: (Difference)[];
    moreDifferences: number;
    warnings: (ConfigProblem)[];
  })[];
  /** Every stored response was looked at, on the nodes that have answered. */
  orphans?: ({
    site: string;
    behaviors: ({
      path: string;
      stored: number;
      orphaned: number;
    })[];
    /** Nodes that have answered. */
    answered: number;
    asked: number;
  })[] | undefined;
};

export type Purge = {
  id: string;
  sequence: number;
  site: string;
  scope: string;
  mode: string;
  /** The first of them. */
  targets: (string)[];
  targetCount: number;
  acceptedAt: string;
  by: string;
  state: "accepted" | "applied" | "counted";
  /** From the order to the news of the last node. */
  appliedAfterMs: number | null;
  objects: number | null;
  nodes: ({
    node: string;
    name: string;
    state: "accepted" | "unreachable" | "applied" | "counted";
    appliedAt: string | null;
    appliedAfterMs: number | null;
    objects: number | null;
    countedAt: string | null;
  })[];
};

export type Release = {
  zone: string;
  number: number;
  /** Of its paths, their content and types. */
  digest: string;
  files: number;
  bytes: number;
  note: string;
  createdAt: string;
  createdBy: string;
  current: boolean;
  activeAt: string | null;
};

export type Rollout = {
  id: string;
  sequence: number;
  sites: Record<string, {
    from: number | null;
    to: number;
  }>;
  state: "running" | "paused" | "completed" | "rolledBack" | "aborted";
  /** Why it ended. */
  reason: string | null;
  /** From 1. */
  stage: number;
  stages: (string)[];
  stageAt: string;
  /** Since when it is in force on every node of the stage. */
  holdAt: string | null;
  snapshot: number;
  holdSeconds: number;
  applySeconds: number;
  maxErrorRate: number;
  maxErrorIncrease: number;
  minRequests: number;
  /** Of the stage: with the new versions, on the other nodes, before on the same nodes. */
  counts: {
    candidate: {
      requests: number;
      errors: number;
    };
    rest: {
      requests: number;
      errors: number;
    };
    before: {
      requests: number;
      errors: number;
    };
  };
  nodes: ({
    node: string;
    name: string;
    state: "waiting" | "in force" | "problem" | "unreachable";
    problem: string | null;
    requests: number;
    errors: number;
  })[];
  events: ({
    at: string;
    what: string;
    detail: string;
  })[];
  createdAt: string;
  createdBy: string;
  endedAt: string | null;
};

export type Site = {
  id: string;
  createdAt: string;
  createdBy: string;
  /** Changes with every change of the site; the ETag is made of it. */
  revision: number;
  activeVersion: number | null;
  newestVersion: number | null;
  hosts: (string)[];
  draft: {
    updatedAt: string;
  } | null;
};

export type SiteConfig = import("../config/types.ts").SiteInput;

export type Snapshot = {
  number: number;
  hash: string;
  /** The active version of each site. */
  active: Record<string, number>;
  /** What roll-outs put in their place on some nodes. */
  staged: ({
    rollout: string;
    /** Null: all. */
    nodes: (string)[] | null;
    sites: Record<string, number>;
  })[];
  createdAt: string;
  createdBy: string;
};

export type Token = {
  id: string;
  prefix: string;
  name: string;
  scopes: ("read" | "purge" | "deploy" | "admin" | "metrics")[];
  sites: (string)[] | null;
  hosts: (string)[] | null;
  createdAt: string;
  createdBy: string;
  expiresAt: string | null;
  revokedAt: string | null;
  usedAt: string | null;
  /** Of an access key: the id to sign requests with (AWS SigV4). */
  accessKeyId: string | null;
};

export type Version = {
  site: string;
  number: number;
  hash: string;
  hosts: (string)[];
  note: string;
  createdAt: string;
  createdBy: string;
  active: boolean;
};

export type Webhook = {
  id: string;
  name: string;
  /** Of its URL, which may be a secret. */
  host: string;
  events: ("purge.applied" | "version.active" | "rollout.started" | "rollout.completed" | "rollout.rolledBack" | "rollout.aborted" | "origin.failover" | "origin.recovery" | "node.unreachable" | "node.reachable")[];
  sites: (string)[] | null;
  waiting: number;
  dead: number;
  createdAt: string;
  createdBy: string;
};

export type Zone = {
  name: string;
  /** The site that it belongs to; null for who may all. */
  site: string | null;
  indexDocument: string;
  errorDocument: string | null;
  keepReleases: number;
  preposition: boolean;
  createdAt: string;
  createdBy: string;
  /** The release that was made current last. */
  release: number | null;
  files: number;
  bytes: number;
  /** Sites that have shown it. */
  shownBy: (string)[];
};
