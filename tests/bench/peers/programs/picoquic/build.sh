#!/bin/sh
# Builds picotls (with fusion), picoquic and our program: build.sh FOLDER PROGRAM. FOLDER holds the PyPI source archive.
set -eu
folder=$1
program=$2
archive=$(ls "$folder"/aiopquic-*.tar.gz)
tar xzf "$archive" -C "$folder"
source=$(ls -d "$folder"/aiopquic-*/)
tls=$source/third_party/picotls
quic=$source/third_party/picoquic
# The flags the package's own build uses on the machine it is built for.
flags="-O3 -DNDEBUG -march=native"
fusion=OFF
[ "$(uname -m)" = x86_64 ] && fusion=ON
cmake -S "$tls" -B "$folder/tls" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="$flags" -DWITH_FUSION=$fusion >"$folder/build.log" 2>&1
targets="picotls-core picotls-openssl picotls-minicrypto"
[ $fusion = ON ] && targets="$targets picotls-fusion"
cmake --build "$folder/tls" --parallel 2 --target $targets >>"$folder/build.log" 2>&1
library=""
[ $fusion = ON ] && library="-DPTLS_FUSION_LIBRARY=$folder/tls/libpicotls-fusion.a"
cmake -S "$quic" -B "$folder/quic" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="$flags" \
  -Dpicoquic_BUILD_TESTS=OFF -DBUILD_PICO_SIM=OFF -DBUILD_DEMO=OFF -DBUILD_HTTP=OFF -DBUILD_PQBENCH=OFF \
  -DBUILD_LOGLIB=OFF -DBUILD_LOGREADER=OFF -DPTLS_WITH_FUSION=$fusion -DPTLS_INCLUDE_DIR="$tls/include" \
  -DPTLS_CORE_LIBRARY="$folder/tls/libpicotls-core.a" -DPTLS_OPENSSL_LIBRARY="$folder/tls/libpicotls-openssl.a" \
  -DPTLS_MINICRYPTO_LIBRARY="$folder/tls/libpicotls-minicrypto.a" $library >>"$folder/build.log" 2>&1
cmake --build "$folder/quic" --parallel 2 --target picoquic-core >>"$folder/build.log" 2>&1
archives="$folder/quic/libpicoquic-core.a $folder/tls/libpicotls-openssl.a"
[ $fusion = ON ] && archives="$archives $folder/tls/libpicotls-fusion.a"
archives="$archives $folder/tls/libpicotls-minicrypto.a $folder/tls/libpicotls-core.a"
cc $flags -Wall -o "$folder/peer" "$program" -I"$quic/picoquic" -I"$tls/include" $archives -lssl -lcrypto -lpthread -lm
sed -n 's/.*PICOQUIC_VERSION "\([^"]*\)".*/\1/p' "$quic/picoquic/picoquic.h" | head -1 >"$folder/version"
