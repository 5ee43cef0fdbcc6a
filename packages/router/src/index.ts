/** The HTTP/3 stream router: configuration, proxy, metrics, reports, demo services and the client that exercises them. */
export { type ClientTask, type PlanOptions, planRound } from './client/plan.ts'
export { type ClientReport, type ClientRunOptions, type ClientStream, runClient } from './client/run.ts'
export { checkCertificateNames } from './config/certificate-names.ts'
export { defaultConfig, loadConfig, parseConfig } from './config/load.ts'
export { upstreamsOf } from './config/service-schema.ts'
export {
  configSchema,
  demoPorts,
  demoServices,
  type RouterConfig,
  type ServiceConfig,
  type ServiceKind,
} from './config/schema.ts'
export type { ExchangeHandler, ExchangeRequest, ExchangeResponse, HeaderList } from './exchange.ts'
export type { LiveCounts } from './metrics/collector.ts'
export { type ConnectionCounters, describeClose } from './metrics/connection-metrics.ts'
export type { DistributionSummary } from './metrics/distribution.ts'
export type {
  ConnectionDocument,
  MetricsDocument,
  ReportReason,
  StreamDocument,
  Totals,
  TypeSummary,
} from './metrics/document.ts'
export type {
  ClientConnect,
  ClientConnection,
  ClientConnectOptions,
  ClientRequest,
  ClientResponse,
  Diagnostics,
  Established,
  OnServerConnection,
  ServerConnection,
  ServerListen,
  ServerListener,
  ServerListenOptions,
} from './ports.ts'
export type { ProxyFailure } from './proxy.ts'
export { type Change, compareRuns, runsReport } from './report/compare.ts'
export { type Column, formatBytes, formatMs, formatRate, formatRatio, formatTable } from './report/format.ts'
export { History, type HistoryRun, type HistoryType } from './report/history.ts'
export { createRunId, historyFileName, type ReportPaths, reportPaths } from './report/report-writer.ts'
export { type Router, type RouterLog, type RouterOptions, type RouterSetup, startRouter } from './router.ts'
export { startControlService } from './services/control.ts'
export type { RunningService } from './services/service-server.ts'
export { startTextService } from './services/text.ts'
export { startVideoService } from './services/video.ts'
export { isLoopback, type ListenPlace, parseListenPlace } from './config/operations-schema.ts'
export { changeLine, type ConfigChange, diffConfig } from './ops/config-diff.ts'
export { FileWatch } from './ops/file-watch.ts'
export { type Operations, type OperationsOptions, startOperations } from './ops/operations.ts'
export type { FeedDocument, ServiceDocument, StatusDocument } from './ops/feed-document.ts'
export type { ReloadResult } from './ops/reloader.ts'
export { codeOf, messageOf, UserError, type UserErrorCode, type UserErrorParts } from './user-error.ts'
