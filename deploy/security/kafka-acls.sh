# What each service may do to Kafka: `pointsman rights --form kafka`, written by `make rights`. Before it:
# KAFKA_ACLS="kafka-acls.sh --bootstrap-server broker:9092 --command-config admin.conf"
$KAFKA_ACLS --add --allow-principal User:pointsman-describer --operation READ --topic prompts --topic descriptions --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-describer --operation WRITE --topic descriptions --topic replies --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-describer --operation READ --group pointsman-describer
$KAFKA_ACLS --add --allow-principal User:pointsman-embedder --operation READ --topic descriptions --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-embedder --operation WRITE --topic embeddings --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-embedder --operation READ --group pointsman-embedder
$KAFKA_ACLS --add --allow-principal User:pointsman-assigner --operation READ --topic embeddings --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-assigner --operation WRITE --topic assignments --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-assigner --operation READ --group pointsman-assigner
$KAFKA_ACLS --add --allow-principal User:pointsman-selector --operation READ --topic assignments --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-selector --operation WRITE --topic decisions --topic replies --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-selector --operation READ --group pointsman-selector
$KAFKA_ACLS --add --allow-principal User:pointsman-dispatcher --operation READ --topic decisions --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-dispatcher --operation WRITE --topic completions --topic replies --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-dispatcher --operation READ --group pointsman-dispatcher
$KAFKA_ACLS --add --allow-principal User:pointsman-judge --operation READ --topic completions --topic evaluations --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-judge --operation WRITE --topic evaluations --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-judge --operation READ --group pointsman-judge
$KAFKA_ACLS --add --allow-principal User:pointsman-reclusterer --operation READ --topic embeddings --topic evaluations --topic completions --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-reclusterer --operation WRITE --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-reclusterer --operation READ --group pointsman-reclusterer
$KAFKA_ACLS --add --allow-principal User:pointsman-gateway --operation READ --topic replies --topic completions --topic spending --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-gateway --operation WRITE --topic prompts --topic completions --topic evaluations --topic spending
$KAFKA_ACLS --add --allow-principal User:pointsman-console --operation READ --topic decisions --topic evaluations --topic spending --topic replies --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-console --operation WRITE --topic prompts --topic evaluations --topic routing-tables
$KAFKA_ACLS --add --allow-principal User:pointsman-sender --operation READ --topic decisions --topic completions --topic dead-letters
$KAFKA_ACLS --add --allow-principal User:pointsman-sender --operation WRITE --topic prompts
