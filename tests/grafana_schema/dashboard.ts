// What a dashboard of ours must be: the types that Grafana publishes, put together.
//
// Grafana publishes a panel whose options may be anything, and apart from it the options of each
// kind of panel. Where it publishes `unknown` or any string, nothing is checked: what is told to a
// transformation, which units, colours and matchers there are. Where it allows more than can be
// imported everywhere, we ask for less: no fixed id, and no data source but the one that is chosen.
//
// The types are those of the newest Grafana: an older one passes over what it does not know.

import type * as grafana from '@grafana/schema';
import type * as heatmap from
  '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from
  '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from
  '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeline from
'@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as timeseries from
  '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
// The last version that has the type of a Prometheus query. Since then it is published with the
// plugin, which brings half of Grafana along; it has hardly changed.
import type { PrometheusDataQuery } from
  'grafana-schema-10/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen';

/** `T` as it stands in JSON: an enum is its value there, which TypeScript does not take for it. */
type Json<T> = T extends string
  ? `${T}`
  : T extends object
    ? { [Key in keyof T]: Json<T[Key]> }
    : T;

type With<T, More> = Omit<T, keyof More> & More;

/** The one that is chosen at the top of the dashboard, whatever its name is in that Grafana. */
type DataSource = { type: 'prometheus'; uid: '${datasource}' };

type Query = With<PrometheusDataQuery, { datasource: DataSource }>;

/** `T`'s settings one by one, as an override names them. */
type Setting<T, Prefix extends string = ''> = {
  [Key in keyof T & string]-?: { id: `${Prefix}${Key}`; value?: T[Key] };
}[keyof T & string];

type Field = Omit<grafana.FieldConfig, 'custom'>;

type PanelOf<Type extends string, Options, Custom = never> = With<
  grafana.Panel,
  {
    type: Type;
    gridPos: grafana.GridPos;
    datasource: DataSource;
    targets: Query[];
    options: Options;
    fieldConfig: {
      defaults: Field & { custom?: Custom };
      overrides: {
        matcher: grafana.MatcherConfig<unknown>;
        properties: (Setting<Field> | Setting<Custom, 'custom.'>)[];
      }[];
    };
  }
>;

type Panel =
  | PanelOf<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | PanelOf<'stat', stat.Options>
  | PanelOf<'state-timeline', timeline.Options, timeline.FieldConfig>
  | PanelOf<'table', table.Options, table.FieldConfig>
  | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>;

type Row = With<
  grafana.RowPanel,
  { gridPos: grafana.GridPos; datasource?: DataSource; panels: Panel[] }
>;

/** `definition` is what Grafana's list of variables shows; its types have no word of it. */
type Variable = With<grafana.VariableModel, { datasource?: DataSource; definition?: string }>;

/** By which the data source is chosen: it comes first, for the others are asked of it. */
type Chooser = With<Variable, { name: 'datasource'; type: 'datasource'; query: 'prometheus' }>;

/** One by one: of `...Variable[]` the compiler would say that it is wrong, and not what in it. */
type Variables = [Chooser, Variable?, Variable?, Variable?, Variable?];

/** What the Prometheus data source makes of an annotation is not published, the step neither. */
type Annotation = With<
  grafana.AnnotationQuery,
  {
    datasource: DataSource;
    target: Query & { interval?: string };
    tagKeys?: string;
    textFormat?: string;
    titleFormat?: string;
  }
>;

export type Dashboard = Json<
  With<
    grafana.Dashboard,
    {
      id: null;
      annotations: { list: Annotation[] };
      templating: { list: Variables };
      panels: (Panel | Row)[];
    }
  >
>;
