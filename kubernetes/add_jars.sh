#!/usr/bin/env bash
# Put the packages that spark.conf names, and further ones, among Spark's own JARs.
#   add_jars.sh GROUP:ARTIFACT:VERSION …
# What Spark has already, in whatever version, stays Spark's: two versions on one path are a lottery.
set -euo pipefail
ivy=$(mktemp -d)
trap 'rm -rf "$ivy"' EXIT
packages=$(awk '$1 == "spark.jars.packages" {print $2}' spark.conf)
for package in "$@"; do packages+=",$package"; done

# Starting a session resolves the packages, with all that they need.
spark-submit --properties-file spark.conf --packages "$packages" --conf "spark.jars.ivy=$ivy" jobs/session.py

for jar in "$ivy"/jars/*.jar; do
  name=${jar##*/}
  name=${name#*_}              # Ivy writes GROUP_ARTIFACT-VERSION.jar
  artifact=${name%%-[0-9]*}
  compgen -G "$SPARK_HOME/jars/$artifact-[0-9]*.jar" >/dev/null || cp "$jar" "$SPARK_HOME/jars/$name"
done
ls "$SPARK_HOME"/jars/delta-spark_*.jar >/dev/null
