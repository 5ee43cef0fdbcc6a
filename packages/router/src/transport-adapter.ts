/** HTTP/3 over our own QUIC for router and client; loaded only when it is needed, since it needs the native part. */
export { connectHttp3 } from './transport-client.ts'
export { listenHttp3 } from './transport-server.ts'
export { RouterGroup, type RouterGroupOptions, startRouterGroup } from './workers/router-group.ts'
