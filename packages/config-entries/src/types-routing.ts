/** The entries that a discovery chain is made of: router, splitter, resolver. */
import type { Meta } from "./types.ts";

/** What a proxy does with the headers of requests or of responses. */
export interface HeaderModifiers {
  Add?: Record<string, string>;
  Set?: Record<string, string>;
  Remove?: string[];
}

export interface HeaderMatch {
  Name: string;
  Present?: boolean;
  Exact?: string;
  Prefix?: string;
  Suffix?: string;
  Regex?: string;
  Invert?: boolean;
}

export interface QueryParamMatch {
  Name: string;
  Present?: boolean;
  Exact?: string;
  Regex?: string;
}

export interface HttpMatch {
  PathExact?: string;
  PathPrefix?: string;
  PathRegex?: string;
  Header?: HeaderMatch[];
  QueryParam?: QueryParamMatch[];
  Methods?: string[];
}

export interface RouteDestination {
  Service?: string;
  ServiceSubset?: string;
  /** Filled in with "default" on write. */
  Namespace?: string;
  PrefixRewrite?: string;
  RequestTimeout?: string;
  NumRetries?: number;
  RetryOnConnectFailure?: boolean;
  RetryOnStatusCodes?: number[];
  RequestHeaders?: HeaderModifiers;
  ResponseHeaders?: HeaderModifiers;
}

export interface ServiceRoute {
  Match?: { HTTP?: HttpMatch };
  Destination?: RouteDestination;
}

export interface ServiceRouterEntry {
  Kind: "service-router";
  Name: string;
  Routes: ServiceRoute[] | null;
  Meta?: Meta;
}

export interface ServiceSplit {
  /** Percent with two decimals; a splitter's sum is 100. */
  Weight: number;
  Service?: string;
  ServiceSubset?: string;
  Namespace?: string;
  RequestHeaders?: HeaderModifiers;
  ResponseHeaders?: HeaderModifiers;
}

export interface ServiceSplitterEntry {
  Kind: "service-splitter";
  Name: string;
  Splits: ServiceSplit[] | null;
  Meta?: Meta;
}

export interface ResolverSubset {
  Filter?: string;
  OnlyPassing?: boolean;
}

export interface ResolverRedirect {
  Service?: string;
  ServiceSubset?: string;
  Namespace?: string;
  Datacenter?: string;
}

export interface ResolverFailover {
  Service?: string;
  ServiceSubset?: string;
  Namespace?: string;
  Datacenters?: string[];
}

export interface HashPolicy {
  Field?: string;
  FieldValue?: string;
  CookieConfig?: { Session?: boolean; TTL?: string; Path?: string };
  SourceIP?: boolean;
  Terminal?: boolean;
}

export interface LoadBalancer {
  Policy?: string;
  RingHashConfig?: { MinimumRingSize?: number; MaximumRingSize?: number };
  LeastRequestConfig?: { ChoiceCount?: number };
  HashPolicies?: HashPolicy[];
}

export interface ServiceResolverEntry {
  Kind: "service-resolver";
  Name: string;
  DefaultSubset?: string;
  /** By name; a null-prototype object. */
  Subsets?: Record<string, ResolverSubset>;
  Redirect?: ResolverRedirect;
  /** By subset, "*" for all; a null-prototype object. */
  Failover?: Record<string, ResolverFailover>;
  ConnectTimeout?: string;
  RequestTimeout?: string;
  LoadBalancer?: LoadBalancer;
  Meta?: Meta;
}
